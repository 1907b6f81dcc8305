//! The apps that a session leads to.

use couplet_protocol::Code;
use http::{HeaderMap, HeaderName};

use crate::auth::single;
use crate::gateway::Gateway;
use crate::problem::Failure;

/// Names the app that a request is for; without it, it is the first.
pub(super) const APP: HeaderName = HeaderName::from_static("couplet-app");

/// The apps behind this host, in the order in which the owner named them.
#[derive(Debug, Default)]
pub(crate) struct Apps(Vec<(String, Gateway)>);

impl Apps {
    pub(crate) fn new(apps: impl IntoIterator<Item = (String, Gateway)>) -> Self {
        Apps(apps.into_iter().collect())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The app that the headers name, and takes that header out.
    pub(super) fn choose(&self, headers: &mut HeaderMap) -> Result<&Gateway, Failure> {
        let wanted = single(headers, &APP)?;
        let found = match wanted {
            None => self.0.first(),
            Some(wanted) => self.0.iter().find(|(name, _)| name == wanted),
        };
        let (_, gateway) = found.ok_or_else(|| {
            let names: Vec<&str> = self.names().collect();
            let next = match names.is_empty() {
                true => {
                    "This host has no app. Its owner can name one: `couplet serve http://127.0.0.1:3000`.".to_owned()
                }
                false => format!(
                    "Name one of this host's apps: couplet connect --app NAME (other clients send the header {APP}). \
                     They are: {}.",
                    names.join(", ")
                ),
            };
            Failure::new(Code::NoSuchApp, next)
        })?;
        headers.remove(APP);
        Ok(gateway)
    }
}
