//! Who this end's owner is, for a relay with accounts (spec/protocol.md, 6): a token of an identity provider. Such tokens
//! last for minutes, so the file that holds one is read at every use; whoever writes it keeps it fresh.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use couplet_protocol::relay::ACCOUNT_MAX;
use couplet_protocol::{Code, Endpoint, RelayName};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::failure::RelayFailure;

/// How long reading a small file may take, wherever it is.
const READ: Duration = Duration::from_secs(5);

/// The file that holds the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountFile(PathBuf);

impl AccountFile {
    /// This file; it need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        AccountFile(path.into())
    }

    /// The token that it holds now.
    ///
    /// # Errors
    /// [`Code::AccountUnreadable`]: there is none.
    pub async fn read(&self) -> Result<AccountToken, RelayFailure> {
        let unreadable =
            |why: String| RelayFailure::new(Code::AccountUnreadable, format!("{}: {why}", self.0.display()));
        let path = self.0.clone();
        let read = timeout(READ, tokio::task::spawn_blocking(move || read(&path))).await;
        let read = read.map_err(|_| unreadable("it cannot be read in time".to_owned()))?;
        read.map_err(|_| RelayFailure::internal())?.map_err(unreadable)
    }
}

/// Who a device's owner is at one relay. A link or a host may lead to any relay: another one must not be shown the token,
/// which it could show to this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayAccount {
    /// The relay that the token is for.
    pub relay: RelayName,
    /// The file that holds it.
    pub file: AccountFile,
}

/// What a device's file says who its owner is, and at which relay.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account(Option<(RelayName, Result<AccountToken, RelayFailure>)>);

impl Account {
    /// Reads the token, when its relay is one of these endpoints.
    pub(crate) async fn read(account: Option<&RelayAccount>, endpoints: &[Endpoint]) -> Self {
        let is_for = |account: &&RelayAccount| endpoints.contains(&Endpoint::Relay(account.relay.clone()));
        match account.filter(is_for) {
            Some(account) => Account(Some((account.relay.clone(), account.file.read().await))),
            None => Account(None),
        }
    }

    /// What this relay is shown.
    ///
    /// # Errors
    /// There is a file for it, and no token in it.
    pub(super) fn at(&self, relay: &RelayName) -> Result<Option<&AccountToken>, RelayFailure> {
        match &self.0 {
            Some((named, token)) if named == relay => token.as_ref().map(Some).map_err(Clone::clone),
            _ => Ok(None),
        }
    }

    #[cfg(test)]
    pub(super) fn shown(relay: &RelayName, token: &str) -> Self {
        Account(Some((relay.clone(), AccountToken::parse(token).map_err(|_| RelayFailure::internal()))))
    }
}

/// A token of an identity provider (RFC 7519). Zeroized, never printed.
#[derive(Clone)]
pub struct AccountToken(Zeroizing<String>);

impl AccountToken {
    /// Takes a token, with space around it.
    ///
    /// # Errors
    /// It is none; says what it is instead.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let token = text.trim_ascii();
        let is_sendable = token.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
        match token.len() {
            0 => Err("it is empty"),
            1..=ACCOUNT_MAX if is_sendable => Ok(AccountToken(Zeroizing::new(token.to_owned()))),
            1..=ACCOUNT_MAX => Err("it holds something else than a token"),
            _ => Err("it is longer than a token may be"),
        }
    }

    /// The token itself, for the relay.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether a file still holds the same. Nobody learns how long that took.
    #[must_use]
    pub fn is(&self, other: &AccountToken) -> bool {
        self.0 == other.0
    }
}

impl fmt::Debug for AccountToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountToken([redacted])")
    }
}

fn read(path: &Path) -> Result<AccountToken, String> {
    let text = || {
        // Opening a pipe would wait for its writer.
        if !std::fs::metadata(path)?.is_file() {
            return Err(std::io::Error::other("it is no file that can be read anew"));
        }
        let most = u64::try_from(ACCOUNT_MAX).unwrap_or_default() + 1024;
        let mut text = Zeroizing::new(String::with_capacity(ACCOUNT_MAX + 1024));
        File::open(path)?.take(most).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = text().map_err(|error| error.to_string())?;
    AccountToken::parse(&text).map_err(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_read_anew_each_time_and_what_is_no_token_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let file = AccountFile::new(&path);
        let missing = file.read().await.unwrap_err();
        assert!(missing.code() == Code::AccountUnreadable && missing.to_string().contains("token: "), "{missing}");
        for text in ["a.b.c", "  d.e.f\n"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(file.read().await.unwrap().expose(), text.trim());
        }
        assert!(!format!("{:?}", file.read().await.unwrap()).contains("d.e.f"));
        for (text, why) in [
            (String::new(), "empty"),
            ("{\"access_token\": \"x\"}".to_owned(), "something else"),
            ("x".repeat(ACCOUNT_MAX + 1), "longer"),
            ("x".repeat(1 << 20), "longer"),
        ] {
            std::fs::write(&path, text).unwrap();
            let failure = file.read().await.unwrap_err().to_string();
            assert!(failure.contains(why) && !failure.contains("access_token"), "{failure}");
        }
        let folder = AccountFile::new(folder.path()).read().await.unwrap_err();
        assert!(folder.to_string().contains("no file"), "{folder}");
    }
}
