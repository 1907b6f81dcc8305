//! Who this host's owner is, for a relay with accounts: shown with each room, and what the relay makes of it.

use std::time::{Duration, Instant};

use couplet_client::AccountFile;
use couplet_client::relay::{AccountToken, RelayFailure};
use couplet_protocol::api::EventKind;
use couplet_protocol::{Code, RelayName};

use crate::events::News;
use crate::pairing::Core;

/// How long the same token is not shown again to a relay that refused it; its provider may have been away.
const AGAIN: Duration = Duration::from_secs(60);
/// How often it is looked whether the file holds another one.
pub(super) const LOOK: Duration = Duration::from_secs(2);

/// The owner's account at one link.
#[derive(Debug)]
pub(super) struct Account {
    file: Option<AccountFile>,
    refused: Option<Refused>,
    /// Whether the file was looked at: one that cannot be read is said at once, not when the first room needs it.
    looked: bool,
    told: Option<Code>,
}

#[derive(Debug)]
struct Refused {
    failure: RelayFailure,
    token: Option<AccountToken>,
    at: Instant,
}

impl Account {
    /// The one of the settings.
    pub(super) fn of(core: &Core) -> Self {
        let path = &core.config().relay_account_token_file;
        let file = (!path.as_os_str().is_empty()).then(|| AccountFile::new(path));
        Account { file, refused: None, looked: false, told: None }
    }

    /// What to show now. Err: nothing that is worth a try.
    pub(super) async fn read(&mut self) -> Result<Option<AccountToken>, ()> {
        self.looked = true;
        let Some(file) = &self.file else { return Ok(None) };
        match file.read().await {
            Ok(token) if self.is_refused(&token) => Err(()),
            Ok(token) => {
                self.refused.take_if(|refused| refused.token.is_none());
                Ok(Some(token))
            }
            Err(failure) => {
                self.refused(failure, None);
                Err(())
            }
        }
    }

    fn is_refused(&self, token: &AccountToken) -> bool {
        self.refused.as_ref().is_some_and(|refused| {
            refused.at.elapsed() < AGAIN && refused.token.as_ref().is_some_and(|other| other.is(token))
        })
    }

    /// Whether this answer is about the account.
    pub(super) fn is_about(code: Option<Code>) -> bool {
        matches!(code, Some(Code::AccountInvalid | Code::AccountExpired | Code::AccountsUnavailable))
    }

    /// The relay does not take it.
    pub(super) fn refused(&mut self, failure: RelayFailure, token: Option<AccountToken>) {
        self.refused = Some(Refused { failure, token, at: Instant::now() });
    }

    /// The relay takes it.
    pub(super) fn taken(&mut self) {
        self.refused = None;
    }

    /// Whether to look at the file although no room needs it.
    pub(super) fn wants_a_look(&self) -> bool {
        !self.looked || self.is_waited_for()
    }

    /// Whether rooms wait for another token.
    pub(super) fn is_waited_for(&self) -> bool {
        self.refused.is_some()
    }

    /// Tells the owner how things stand, once each.
    pub(super) fn tell(&mut self, core: &Core, relay: &RelayName) {
        let code = self.refused.as_ref().map(|refused| refused.failure.code());
        if self.told == code {
            return;
        }
        self.told = code;
        let kind = match &self.refused {
            Some(Refused { failure, .. }) => {
                let next = failure.next_step(relay);
                tracing::error!(target: "couplet::relay", %relay, %failure, "the relay does not take this host's \
                    account; new rooms wait for a token that counts. {next}");
                EventKind::RelayRefused
            }
            None => {
                tracing::info!(target: "couplet::relay", %relay, "nothing stands against this host's account any more");
                EventKind::RelayConnected
            }
        };
        core.events().tell(News::of_relay(kind, core.now(), relay, code));
    }
}
