//! The one pairing ceremony, for every door: `waiting → claimed → approval → granted → paired`, or `rejected`, or
//! `expired`. Pure: what may follow what, and when the owner is asked. The store keeps the state, this decides.

use couplet_protocol::Code;
use couplet_protocol::api::{Door, NetworkPath, PairingState};

use crate::config::Approve;

/// What can happen to a pairing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A device presents the offer's credential.
    Claim,
    /// The policy wants the owner's word.
    Ask,
    /// The owner says yes, or the policy needs no word.
    Grant,
    /// The device has its credential.
    Deliver,
    /// The device comes back by a link that it alone is told: the offer is open, to be claimed by that.
    Invite,
    /// The device went away before the owner said anything: another one may claim the offer.
    Release,
    /// The owner says no, or withdraws the offer.
    Reject,
    /// Time runs out.
    Expire,
}

/// The state that follows.
///
/// # Errors
/// The code that tells the caller why nothing follows.
pub(crate) fn next(state: PairingState, step: Step) -> Result<PairingState, Code> {
    use PairingState::{Approval, Claimed, Expired, Granted, Paired, Rejected, Waiting};
    match (state, step) {
        (Waiting, Step::Claim) => Ok(Claimed),
        (Claimed, Step::Ask) => Ok(Approval),
        (Claimed | Approval, Step::Grant) => Ok(Granted),
        (Granted, Step::Deliver) => Ok(Paired),
        (Claimed | Approval, Step::Release) => Ok(Waiting),
        (Granted, Step::Invite) => Ok(Waiting),
        (Waiting | Claimed | Approval | Granted, Step::Reject) => Ok(Rejected),
        (Waiting | Claimed | Approval | Granted, Step::Expire) => Ok(Expired),
        (Rejected, Step::Claim | Step::Deliver) => Err(Code::PairingRejected),
        (Expired, Step::Claim) => Err(Code::PairTokenInvalid),
        (Expired, Step::Deliver) => Err(Code::ClaimExpired),
        (Paired, Step::Deliver) => Err(Code::ClaimCollected),
        (Claimed | Approval | Granted | Paired, Step::Claim) => Err(Code::PairTokenUsed),
        (Waiting | Claimed | Approval, Step::Deliver)
        | (Waiting | Approval | Granted | Paired | Rejected | Expired, Step::Ask)
        | (Waiting | Granted | Paired | Rejected | Expired, Step::Grant)
        | (Waiting | Granted | Paired | Rejected | Expired, Step::Release)
        | (Waiting | Claimed | Approval | Paired | Rejected | Expired, Step::Invite)
        | (Paired | Rejected | Expired, Step::Reject | Step::Expire) => Err(Code::AlreadyDecided),
    }
}

/// Whether the owner is asked before a device that came by this door, on this path, is paired. Doors that the owner
/// opened ask only under `always`, and under `relay` when the device came through one; the open LAN doors always ask;
/// the pre-fill is the owner's own act.
pub(crate) fn asks(door: Door, approve: Approve, path: NetworkPath) -> bool {
    match door {
        Door::Prefill => false,
        Door::Lan | Door::WatchLan | Door::Pin => true,
        Door::Otp | Door::Url | Door::Offer | Door::Watch => match approve {
            Approve::Never => false,
            Approve::Relay => path == NetworkPath::Relay,
            Approve::Always => true,
        },
    }
}

#[cfg(test)]
mod tests {
    use PairingState::{Approval, Claimed, Expired, Granted, Paired, Rejected, Waiting};
    use proptest::prelude::*;

    use super::*;

    const STATES: [PairingState; 7] = [Waiting, Claimed, Approval, Granted, Paired, Rejected, Expired];
    const STEPS: [Step; 8] =
        [Step::Claim, Step::Ask, Step::Grant, Step::Deliver, Step::Invite, Step::Release, Step::Reject, Step::Expire];

    #[test]
    fn the_whole_table() {
        let allowed = [
            (Waiting, Step::Claim, Claimed),
            (Claimed, Step::Ask, Approval),
            (Claimed, Step::Grant, Granted),
            (Approval, Step::Grant, Granted),
            (Granted, Step::Deliver, Paired),
            (Granted, Step::Invite, Waiting),
            (Claimed, Step::Release, Waiting),
            (Approval, Step::Release, Waiting),
        ];
        for state in STATES {
            for step in STEPS {
                let over = matches!(state, Paired | Rejected | Expired);
                let expected = match step {
                    Step::Reject if !over => Some(Rejected),
                    Step::Expire if !over => Some(Expired),
                    _ => allowed.iter().find(|(s, t, _)| (*s, *t) == (state, step)).map(|(_, _, n)| *n),
                };
                assert_eq!(next(state, step).ok(), expected, "{state:?} {step:?}");
            }
        }
    }

    #[test]
    fn a_device_learns_why_it_gets_nothing() {
        assert_eq!(next(Rejected, Step::Deliver), Err(Code::PairingRejected));
        assert_eq!(next(Expired, Step::Deliver), Err(Code::ClaimExpired));
        assert_eq!(next(Paired, Step::Deliver), Err(Code::ClaimCollected));
        for state in [Claimed, Approval, Granted, Paired] {
            assert_eq!(next(state, Step::Claim), Err(Code::PairTokenUsed));
        }
    }

    #[test]
    fn the_owner_is_asked_as_the_policy_says() {
        for (door, path, never, relay, always) in [
            (Door::Otp, NetworkPath::Lan, false, false, true),
            (Door::Url, NetworkPath::Lan, false, false, true),
            (Door::Offer, NetworkPath::Lan, false, false, true),
            (Door::Offer, NetworkPath::Relay, false, true, true),
            (Door::Lan, NetworkPath::Lan, true, true, true),
            (Door::Watch, NetworkPath::Lan, false, false, true),
            (Door::WatchLan, NetworkPath::Lan, true, true, true),
            (Door::Pin, NetworkPath::Lan, true, true, true),
            (Door::Prefill, NetworkPath::Lan, false, false, false),
        ] {
            assert_eq!(asks(door, Approve::Never, path), never, "{door:?} {path:?}");
            assert_eq!(asks(door, Approve::Relay, path), relay, "{door:?} {path:?}");
            assert_eq!(asks(door, Approve::Always, path), always, "{door:?} {path:?}");
        }
    }

    proptest! {
        /// However the steps come, a device is paired at most once, only after a grant, and an end is an end.
        #[test]
        fn paired_once_and_only_after_a_grant(steps in prop::collection::vec(0usize..8, 0..24)) {
            let (mut state, mut granted, mut paired) = (Waiting, false, 0);
            for step in steps.into_iter().map(|i| STEPS[i]) {
                let Ok(after) = next(state, step) else { continue };
                prop_assert!(!matches!(state, Paired | Rejected | Expired));
                granted |= after == Granted;
                if after == Paired {
                    paired += 1;
                    prop_assert!(granted);
                }
                state = after;
            }
            prop_assert!(paired <= 1);
        }
    }
}
