//! Floating addresses, as the operator sees and moves them.

use std::net::IpAddr;

use admin::{AddressMove, AddressView, Problem, ProblemKind};
use ownership::{AddressCause, FleetCommand, MoveReason};
use router::AddressStatus;

use super::{FleetOperator, problem};
use crate::utc;

impl FleetOperator {
    pub(super) fn all_addresses(&self) -> Vec<AddressView> {
        self.router.address_statuses().iter().map(|status| self.address_view(status)).collect()
    }

    pub(super) async fn move_to(
        &self,
        address: IpAddr,
        wanted: AddressMove,
    ) -> Result<AddressView, Problem> {
        let (to, why) = (self.named(&wanted.to)?, MoveReason::Asked);
        let moved = FleetCommand::MoveAddress { address, to, why };
        self.router.command(moved).await.map_err(problem)?;
        let all = self.router.address_statuses();
        let found = all.iter().find(|status| status.known.address == address);
        found.map(|status| self.address_view(status)).ok_or_else(|| {
            Problem::new(ProblemKind::NotFound, format!("{address} is offered no longer"))
        })
    }

    fn address_view(&self, status: &AddressStatus) -> AddressView {
        let AddressStatus { known, since } = status;
        let held = known.held;
        let by_holder = known.offers.iter().find(|(id, _)| held.is_some_and(|h| h.by == *id));
        let offer = by_holder.or_else(|| known.offers.first()).map(|(_, offer)| offer);
        AddressView {
            address: match offer {
                Some(offer) => format!("{}/{}", known.address, offer.prefix),
                None => known.address.to_string(),
            },
            interface: offer.map(|offer| offer.interface.clone()).unwrap_or_default(),
            holder: held.map(|held| self.name_of(held.by)),
            since_view: held.map(|held| held.since.get()),
            since: since.map(utc::rfc3339),
            cause: held.map(|held| cause(held.cause).to_owned()),
            offered_by: known.offers.iter().map(|(id, _)| self.name_of(*id)).collect(),
        }
    }
}

fn cause(cause: AddressCause) -> &'static str {
    match cause {
        AddressCause::Offered => "offered",
        AddressCause::TakeOver => "take-over",
        AddressCause::GivenUp => "given-up",
        AddressCause::Spread => "spread",
        AddressCause::Asked => "asked",
    }
}
