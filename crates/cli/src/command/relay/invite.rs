//! `couplet relay invite`.

use couplet_relay::control::{Invite, Invited};
use http::Method;

use crate::args::Global;
use crate::failure::{Exit, Failure};
use crate::output;

/// Prints an enrolment token.
pub(super) async fn run(global: &Global, span: i64, json: bool) -> anyhow::Result<()> {
    let wrong = |_| Failure::new(Exit::Usage, "The span is out of range", "Write it as 30m, 12h or 7d.");
    let invite = Invite { valid_seconds: u64::try_from(span).map_err(wrong)? };
    let invited: Invited = super::running(global)?.json(Method::POST, "/invitations", Some(&invite)).await?;
    if json {
        output::json(&invited)?;
    } else {
        output::line(&invited.token)?;
    }
    output::message(&format!(
        "Good for one host, until {}. On the host: couplet enroll TOKEN",
        output::plain(&invited.expires_at)
    ));
    Ok(())
}
