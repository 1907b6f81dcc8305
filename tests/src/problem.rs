//! What every refusal looks like: RFC 9457, with a stable code and a next step, kept by no cache.

use couplet_protocol::{Code, Problem};

use crate::raw::Answer;

/// Reads a refusal and checks everything that all refusals have.
pub async fn expect(answer: reqwest::Response, code: Code) -> Problem {
    let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (status, kind, cache) = (answer.status().as_u16(), header("content-type"), header("cache-control"));
    check(status, kind.as_deref(), cache.as_deref(), &answer.bytes().await.unwrap(), code)
}

/// The same, of an answer over a bare socket.
pub fn expect_raw(answer: &Answer, code: Code) -> Problem {
    check(answer.status, answer.header("content-type"), answer.header("cache-control"), &answer.body, code)
}

fn check(status: u16, kind: Option<&str>, cache: Option<&str>, body: &[u8], code: Code) -> Problem {
    let text = String::from_utf8_lossy(body);
    assert_eq!((status, kind), (code.status(), Some("application/problem+json")), "wanted {code}: {text}");
    assert_eq!(cache, Some("no-store"), "{code}: {text}");
    let problem: Problem = serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!((problem.code.as_str(), problem.title.as_str()), (code.to_string().as_str(), code.title()), "{text}");
    assert_eq!((problem.status, problem.kind.as_str()), (status, format!("urn:couplet:error:{code}").as_str()));
    assert!(problem.detail.len() > 10, "it says what to do next: {text}");
    assert_eq!(problem.request_id.is_some(), status >= 500, "{text}");
    problem
}
