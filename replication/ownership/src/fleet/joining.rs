//! How a fleet begins and how an appliance joins it: one invitation, one appliance.

use model::{ApplianceId, Timestamp};

use super::member::{
    ADDRESSES_MAX, APPLIANCE_NAME_BYTES_MAX, AUTHORITY_BYTES_MAX, Authority, Invitation,
    InvitationDigest, Member, Secret,
};
use super::{APPLIANCES_EVER_MAX, Fleet, FleetRefusal, INVITATIONS_MAX, MEMBERS_MAX};

impl Fleet {
    pub(super) fn found(
        &mut self,
        appliance: ApplianceId,
        name: String,
        secret: Secret,
    ) -> Result<(), FleetRefusal> {
        if self.secret.is_some() {
            return Err(FleetRefusal::Founded);
        }
        self.secret = Some(secret);
        self.founder = Some(appliance);
        self.members.push(Member::new(appliance, name));
        Ok(())
    }

    pub(super) fn set_authority(&mut self, authority: Authority) -> Result<(), FleetRefusal> {
        if self.authority.is_some() {
            return Err(FleetRefusal::AuthoritySet);
        }
        if authority.0.is_empty() || authority.0.len() > AUTHORITY_BYTES_MAX {
            return Err(FleetRefusal::BadAuthority);
        }
        self.authority = Some(authority);
        Ok(())
    }

    pub(super) fn invite(
        &mut self,
        invitation: Invitation,
        now: Timestamp,
    ) -> Result<(), FleetRefusal> {
        if invitation.expires <= now {
            return Err(FleetRefusal::InvitationInThePast);
        }
        let same = |other: &Invitation| other.digest == invitation.digest && other.expires > now;
        if self.invitations.iter().any(same) {
            return Err(FleetRefusal::InvitationExists);
        }
        let open = |other: &Invitation| other.expires > now && other.used_by.is_none();
        if self.invitations.iter().filter(|other| open(other)).count() >= INVITATIONS_MAX {
            return Err(FleetRefusal::TooManyInvitations);
        }
        self.invitations.retain(|other| other.expires > now);
        if self.invitations.len() >= INVITATIONS_MAX {
            // Used ones are kept only to say so; the oldest is missed the least.
            let used = self.invitations.iter().position(|other| other.used_by.is_some());
            self.invitations.remove(used.expect("fewer than all are open"));
        }
        self.invitations.push(invitation);
        Ok(())
    }

    pub(super) fn revoke(&mut self, digest: InvitationDigest) -> Result<(), FleetRefusal> {
        let found = self.invitations.iter().position(|invitation| invitation.digest == digest);
        self.invitations.remove(found.ok_or(FleetRefusal::UnknownInvitation)?);
        Ok(())
    }

    pub(super) fn admit(
        &mut self,
        digest: InvitationDigest,
        member: Member,
        now: Timestamp,
    ) -> Result<(), FleetRefusal> {
        if self.removed.contains(&member.id) {
            return Err(FleetRefusal::Removed(member.id));
        }
        if self.member(member.id).is_some() {
            return Err(FleetRefusal::AlreadyMember(member.id));
        }
        let found = self.invitations.iter().position(|invitation| invitation.digest == digest);
        let at = found.ok_or(FleetRefusal::UnknownInvitation)?;
        let invitation = &self.invitations[at];
        if let Some(user) = invitation.used_by {
            return Err(FleetRefusal::InvitationUsed(user));
        }
        if invitation.expires <= now {
            return Err(FleetRefusal::InvitationExpired);
        }
        if invitation.kind != member.kind {
            return Err(FleetRefusal::InvitationKind);
        }
        if self.members.len() >= MEMBERS_MAX {
            return Err(FleetRefusal::TooManyMembers);
        }
        // Counted here and not when one is removed: removing must always be possible.
        if self.members.len() + self.removed.len() >= APPLIANCES_EVER_MAX {
            return Err(FleetRefusal::TooManyEver);
        }
        self.check_member(&member)?;
        self.invitations[at].used_by = Some(member.id);
        self.members.push(member);
        Ok(())
    }

    /// Checks what an appliance says of itself.
    pub(super) fn check_member(&self, member: &Member) -> Result<(), FleetRefusal> {
        let name = &member.name;
        let fits = !name.is_empty() && name.len() <= APPLIANCE_NAME_BYTES_MAX;
        let taken = self.members.iter().any(|other| other.name == *name && other.id != member.id);
        if !fits || taken {
            return Err(FleetRefusal::BadApplianceName(name.clone()));
        }
        if member.addresses.len() > ADDRESSES_MAX {
            return Err(FleetRefusal::TooManyAddresses);
        }
        member.labels.check()
    }
}
