//! A verifier changes whenever unstable data was lost: after the loss no COMMIT of the file is
//! answered with the verifier that the lost WRITEs had.

use crate::history::History;
use crate::words::{Call, Outcome};

pub fn check(history: &History) -> Result<(), String> {
    for loss in &history.losses {
        for op in &history.ops {
            let Call::Commit { object } = op.request.call else { continue };
            let Some((at, Outcome::Committed { verifier })) = &op.answered else { continue };
            let about = (op.request.volume, object) == loss.key;
            if about && op.invoked > loss.at && *verifier == loss.verifier {
                return Err(format!(
                    "unstable data of object {object} was lost at {} µs, and a COMMIT at {at} µs \
                     vouches for it with {verifier:?}",
                    loss.at
                ));
            }
        }
    }
    Ok(())
}
