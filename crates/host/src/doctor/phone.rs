//! The pages for phones' browsers, where the host serves them: their certificate, and whether their names lead anywhere.

use std::time::Duration;

use couplet_phone::certificate::until;
use couplet_protocol::Code;
use couplet_protocol::api::{Finding, Part};
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::{Patient, failed, ok, warning};
use crate::clock::Timestamp;
use crate::phone;

/// How long before its end the certificate is spoken of: what renews it has failed by then.
const SOON: Duration = Duration::from_secs(14 * 86_400);
/// How long the DNS may take for a name.
const ANSWER: Duration = Duration::from_secs(5);
/// A name that a phone could have made for an app.
const LABEL: &str = "couplet234couplet234couple";

/// What the owner's certificate is worth; nothing where the host serves no pages for phones.
pub(super) fn certificate(patient: Patient<'_>, now: Timestamp) -> Option<Finding> {
    let config = patient.config;
    if config.phone_name.is_empty() {
        return None;
    }
    let (part, name) = (Part::Certificates, &config.phone_name);
    let finding = match phone::read(config) {
        Err(error) => failed(part, format!("The certificate of the pages for phones cannot be used: {error}"))
            .then("Have it issued anew for these names, and put it where phone_cert and phone_key say: the host reads it again by itself.")
            .see(Code::ConfigInvalid),
        Ok(key) => {
            let end = until(&key).map(|end| Timestamp::from_millis(end.as_millisecond()));
            let day = end.map_or_else(String::new, |end| end.to_rfc3339()[..10].to_owned());
            match end {
                Some(end) if now >= end.before(SOON) => {
                    warning(part, format!("The certificate of the pages for phones ends on {day}"))
                        .because("Browsers refuse the pages, and open apps, from then on.")
                        .then("See why it was not renewed, and put the new one where phone_cert and phone_key say.")
                }
                _ => ok(part, format!("The certificate of the pages for phones lasts until {day}")),
            }
        }
    };
    Some(finding.about(name.clone()))
}

/// Whether the names of pages and apps lead anywhere.
pub(super) async fn names(patient: Patient<'_>) -> Vec<Finding> {
    let config = patient.config;
    let own = config.phone_name.split(':').next().unwrap_or_default();
    if own.is_empty() {
        return Vec::new();
    }
    let app = config.phone_apps().map(|domain| (format!("{LABEL}.{domain}"), format!("*.{domain}")));
    let asked = std::iter::once((own.to_owned(), own.to_owned())).chain(app);
    let looked = asked.map(async |(host, said)| {
        let part = Part::Addresses;
        let found = timeout(ANSWER, lookup_host((host.as_str(), 0))).await;
        let addresses: Vec<String> = match found {
            Ok(Ok(found)) => found.map(|address| address.ip().to_string()).collect(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        let finding = if addresses.is_empty() {
            failed(part, format!("{said} leads nowhere: phones find no pages of this host there"))
                .because("The DNS has no such name, or does not answer.")
                .then("Give it an A or AAAA record with this machine's address.")
        } else {
            ok(part, format!("{said} leads to {}", addresses.join(", ")))
        };
        finding.about(said)
    });
    futures_util::future::join_all(looked).await
}
