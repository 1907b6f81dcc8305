//! `GET /pair`: a client credential in a URL, for editors, agents and second shells; and the page behind that URL.

use axum::extract::{Extension, FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use couplet_protocol::api::{ClaimAnswer, Door, PairUrlAnswer};
use couplet_protocol::{BearerToken, Code, Digest, Problem};
use data_encoding::BASE64;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::caller::Owner;
use super::guard::{CheckedHost, Source};
use super::offers::waiting;
use crate::auth::single;
use crate::config::LanPairing;
use crate::pairing::{Outcome, Pairing};
use crate::problem::Failure;

/// Where a waiting client sends its claim: not in the URL, which others log.
const CLAIM: HeaderName = HeaderName::from_static("couplet-claim");

/// Issues a client credential: 128 bits of the operating system's generator in 32 lower-case hex characters. It
/// expires unless it is used within ten minutes. With `?token=`, a page that tells a person what to do with the URL.
#[utoipa::path(get, path = "/pair", tag = "pairing", security(("owner" = []), ()),
    params(("token" = Option<String>, Query, description = "the credential, when a person opens the URL"),
        ("couplet-claim" = Option<String>, Header, description = "the claim of an earlier 202 answer")),
    responses((status = 200, body = PairUrlAnswer), (status = 202, body = ClaimAnswer), (status = 401, body = Problem),
        (status = 403, body = Problem), (status = 409, body = Problem), (status = 410, body = Problem),
        (status = 429, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn pair(
    State(pairing): State<Pairing>,
    Extension(source): Extension<Source>,
    Extension(host): Extension<CheckedHost>,
    request: Request,
) -> Result<Response, Failure> {
    let (mut parts, _) = request.into_parts();
    if parts.method != Method::GET {
        return Err(Failure::new(Code::MethodNotAllowed, "Each GET issues a credential; a HEAD would lose it."));
    }
    if let Some(token) = token_in(parts.uri.query()) {
        return Ok(page(token, &host));
    }
    let claim = super::claim(single(&parts.headers, &CLAIM)?)?;
    let door = match Owner::from_request_parts(&mut parts, &pairing).await {
        Ok(_) => Door::Url,
        Err(failure) if failure.code() != Code::OwnerRequired => return Err(failure),
        Err(_) if is_embedded(&parts.headers) => {
            return Err(Failure::new(Code::CrossSite, "Open this address yourself, or fetch it with your client."));
        }
        Err(_) if pairing.core().config().lan_pairing == LanPairing::Open => {
            if claim.is_none() {
                pairing.core().admit(source.ip)?;
            }
            Door::Lan
        }
        Err(_) => {
            return Err(Failure::new(
                Code::LanPairingClosed,
                "Ask the owner for a code (`couplet pair`). The owner can also open this door: `--lan-pairing open`.",
            ));
        }
    };
    let polling = claim.is_some();
    let issued = pairing.core().issue(door, claim, source.ip).await;
    Ok(match super::counted(&pairing, source, polling, issued)? {
        Outcome::Done(token) => answer(&pairing, &host, &token),
        Outcome::Waiting { claim, expires_at, name } => waiting(claim, expires_at, &name),
    })
}

/// Whether a browser fetches this as a part of some page, or ahead of its person: nobody would wait for the answer.
/// Over plain HTTP browsers send `Sec-Fetch-*` to this machine only, so what a page asks for beyond it is told by
/// `Accept`, as far as it is told at all.
pub(super) fn is_embedded(headers: &HeaderMap) -> bool {
    let says = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    says("sec-fetch-dest").is_some_and(|dest| !matches!(dest, "document" | "empty"))
        || says("sec-purpose").or(says("purpose")).is_some_and(|purpose| purpose.contains("prefetch"))
        || says("accept").is_some_and(|types| types.starts_with("image/"))
}

fn answer(pairing: &Pairing, host: &CheckedHost, token: &BearerToken) -> Response {
    let authority = pairing.core().offered_authority(&host.0);
    let (name, port) = authority.rsplit_once(':').unwrap_or((&authority, "80"));
    tracing::info!(target: "couplet::pairing", host = name, port, token_len = token.expose().len(),
        "pairing.url.generated");
    axum::Json(PairUrlAnswer {
        url: format!("http://{authority}/pair?token={}", token.expose()),
        token: token.expose().to_owned(),
        instructions: format!(
            "Give this URL to your client, or open it in your device's browser, to pair with {}. Clients send the \
             token as `Authorization: Bearer`. It expires unless it is used within {} seconds.",
            pairing.core().config().server_name,
            pairing.core().config().limits.unused_seconds
        ),
    })
    .into_response()
}

/// The `token` of a query string. No other parameter means anything here.
fn token_in(query: Option<&str>) -> Option<&str> {
    query?.split('&').find_map(|pair| pair.strip_prefix("token="))
}

const STYLE: &str = "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:0 auto;padding:1.5rem;\
color:#1a1a1a;background:#fff}code{overflow-wrap:anywhere;background:#eee;color:#1a1a1a;padding:.1em .3em;border-radius:.2em}\
h1{font-size:1.5rem;line-height:1.2}@media(prefers-color-scheme:dark){body{color:#eee;background:#16181b}}";

/// What a person sees who opens the URL. It uses nothing up, sets no cookie and asks no other server for anything.
fn page(token: &str, host: &CheckedHost) -> Response {
    let body = match BearerToken::parse(token) {
        Ok(token) => format!(
            "<h1>Pair a client with this host</h1><p>This address is a key, not a page to bookmark. Do not share it.</p>\
             <ol><li>Copy the token: <code>{token}</code></li>\
             <li>In your client (an editor, an agent, a script) enter this host's address <code>http://{host}</code> and \
             the token. The client sends it with every request, as <code>Authorization: Bearer</code> and the token.</li>\
             <li>Use it soon: unused, it expires. The owner then sees the client in <code>couplet devices</code>, and can \
             revoke it there.</li></ol>",
            token = token.expose(),
            host = host.0,
        ),
        Err(_) => {
            "<h1>This pairing address is incomplete</h1><p>The token in it is 32 characters long. Copy the whole \
                   address again, or ask the host's owner for a new one.</p>"
                .to_owned()
        }
    };
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Pair with Couplet</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><style>{STYLE}</style></head>\
         <body><main>{body}</main></body></html>"
    );
    let style = BASE64.encode(Digest::of(STYLE).as_bytes());
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    (headers, html).into_response()
}
