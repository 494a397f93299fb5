//! What this appliance boots from, as the operator sees and changes it.

use admin::{ImageChange, ImageView, Problem, ProblemKind, Upload};

use super::FleetOperator;
use crate::image::{ImageRefusal, restart_machine};

impl FleetOperator {
    pub(super) fn image_view(&self) -> Result<ImageView, Problem> {
        self.image.view().map_err(refused)
    }

    pub(super) async fn take_image(
        &self,
        signature: &str,
        upload: Upload,
    ) -> Result<ImageChange, Problem> {
        let file = self.image.take(signature, upload).await.map_err(refused)?;
        tracing::info!(file, "an update is booted next");
        Ok(ImageChange { file, restarts: restart_machine() })
    }

    pub(super) async fn boot_previous_image(&self) -> Result<ImageChange, Problem> {
        let file = self.image.roll_back().await.map_err(refused)?;
        tracing::info!(file, "the image before is booted next");
        Ok(ImageChange { file, restarts: restart_machine() })
    }
}

fn refused(refusal: ImageRefusal) -> Problem {
    let kind = match refusal {
        ImageRefusal::BadSignature(_)
        | ImageRefusal::NoBootFile
        | ImageRefusal::TooLong
        | ImageRefusal::Broken(_) => ProblemKind::BadRequest,
        ImageRefusal::NoImage
        | ImageRefusal::NoKey
        | ImageRefusal::UnknownSlot(_)
        | ImageRefusal::NoPrevious
        | ImageRefusal::NoNumber => ProblemKind::Conflict,
        ImageRefusal::Io(_) => ProblemKind::Fault,
    };
    Problem::new(kind, refusal)
}
