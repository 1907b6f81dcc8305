//! What a device may do in the apps: read only, some paths only. An absent limit is no limit.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::Code;

/// The most path prefixes that one scope may name.
pub const PATHS_MAX: usize = 32;
/// The longest path prefix in bytes.
pub const PATH_LEN_MAX: usize = 256;

/// Limits on what a device may ask of the apps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Scope {
    /// Only GET, HEAD and OPTIONS, and no upgrade: a WebSocket writes whatever its method is.
    #[serde(default)]
    pub read_only: bool,
    /// Path prefixes of whole segments: `/api` allows `/api` and `/api/x`, never `/apix`. Empty: every path.
    #[serde(default)]
    pub paths: Vec<String>,
}

/// Why a scope was refused. The texts say what to do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// More than [`PATHS_MAX`].
    #[error("name at most {PATHS_MAX} paths")]
    TooMany,
    /// Not an absolute, unambiguous path.
    #[error(
        "path {0:?} must start with / and be at most {PATH_LEN_MAX} plain characters, without '.' or '..' segments, '%', '\\', ';', '?', '#' or empty segments"
    )]
    Path(String),
}

impl Scope {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        !self.read_only && self.paths.is_empty()
    }

    /// Checks the paths and drops their trailing slashes.
    ///
    /// # Errors
    /// A path could never match, or could be read in two ways.
    pub fn checked(mut self) -> Result<Self, ScopeError> {
        if self.paths.len() > PATHS_MAX {
            return Err(ScopeError::TooMany);
        }
        for path in &mut self.paths {
            let trimmed = path.strip_suffix('/').unwrap_or(path);
            let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'"' | b'<' | b'>');
            let segments_are_whole = trimmed.is_empty() || !trimmed[1..].split('/').any(str::is_empty);
            if path.len() > PATH_LEN_MAX
                || !path.starts_with('/')
                || !path.bytes().all(plain)
                || !segments_are_whole
                || is_ambiguous(path)
            {
                return Err(ScopeError::Path(path.chars().take(80).collect()));
            }
            *path = trimmed.to_owned();
        }
        Ok(self)
    }

    /// Whether the scope lets this request through. `path` is the path of the request target, without the query.
    ///
    /// # Errors
    /// [`Code::MethodOutOfScope`], [`Code::PathOutOfScope`], or [`Code::PathAmbiguous`] for a path that changes
    /// under dot-segment removal or percent-decoding: the app might read it as another one.
    pub fn check(&self, method: &str, path: &str, upgrade: bool) -> Result<(), Code> {
        if self.read_only && (upgrade || !matches!(method, "GET" | "HEAD" | "OPTIONS")) {
            return Err(Code::MethodOutOfScope);
        }
        if self.paths.is_empty() {
            return Ok(());
        }
        if is_ambiguous(path) {
            return Err(Code::PathAmbiguous);
        }
        let within = |prefix: &String| match path.strip_prefix(prefix.as_str()) {
            Some(rest) => rest.is_empty() || rest.starts_with('/'),
            None => false,
        };
        if self.paths.iter().any(within) { Ok(()) } else { Err(Code::PathOutOfScope) }
    }
}

/// Whether an app could read the path as another one: dot segments (also before `;` parameters, as servlet
/// containers read them), percent-encoding, backslashes, empty segments, which some servers merge.
fn is_ambiguous(path: &str) -> bool {
    path.contains(['%', '\\', ';'])
        || path.contains("//")
        || path.split('/').any(|segment| matches!(segment, "." | ".."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scope(read_only: bool, paths: &[&str]) -> Scope {
        Scope { read_only, paths: paths.iter().map(|p| (*p).to_owned()).collect() }.checked().unwrap()
    }

    #[test]
    fn read_only_is_three_methods_and_no_upgrade() {
        let scope = scope(true, &[]);
        for method in ["GET", "HEAD", "OPTIONS"] {
            assert_eq!(scope.check(method, "/x%20y", false), Ok(()));
            assert_eq!(scope.check(method, "/x", true), Err(Code::MethodOutOfScope));
        }
        for method in ["POST", "PUT", "DELETE", "PATCH", "PROPFIND", "get", "TRACE", "CONNECT"] {
            assert_eq!(scope.check(method, "/", false), Err(Code::MethodOutOfScope));
        }
    }

    #[test]
    fn prefixes_are_whole_segments() {
        let scope = scope(false, &["/api/", "/photos/2024"]);
        for path in ["/api", "/api/", "/api/x/y", "/photos/2024/a.jpg"] {
            assert_eq!(scope.check("POST", path, true), Ok(()), "{path}");
        }
        for path in ["/", "/apix", "/photos", "/photos/20245", "/API", "api", "*"] {
            assert_eq!(scope.check("GET", path, false), Err(Code::PathOutOfScope), "{path}");
        }
    }

    #[test]
    fn paths_that_could_be_read_twice_are_refused() {
        let scope = scope(false, &["/api"]);
        for path in [
            "/api/../etc",
            "/api/./x",
            "/api/%2e%2e/etc",
            "/api%2fx",
            "/api/..;/etc",
            "/api\\..\\etc",
            "/api//x",
            "/..",
        ] {
            assert_eq!(scope.check("GET", path, false), Err(Code::PathAmbiguous), "{path}");
        }
    }

    #[test]
    fn scopes_that_cannot_match_are_refused() {
        for path in ["", "api", "/a/../b", "/a%20b", "/a//b", "//", "/a?b", "/a b", "/é"] {
            let scope = Scope { read_only: false, paths: vec![path.to_owned()] };
            assert!(scope.checked().is_err(), "{path}");
        }
        assert!(Scope { read_only: false, paths: vec!["/a".into(); 33] }.checked().is_err());
        assert_eq!(scope(false, &["/"]).check("GET", "/anything", false), Ok(()));
    }

    proptest! {
        /// Whatever passes stays below the prefix when a server resolves dot segments and decodes percents.
        #[test]
        fn nothing_escapes_the_prefix(tail in "[a-z./%25;\\\\]{0,24}") {
            let path = format!("/api/{tail}");
            if scope(false, &["/api"]).check("GET", &path, false).is_ok() {
                let decoded = percent_encoding::percent_decode_str(&path).decode_utf8_lossy().into_owned();
                let mut resolved: Vec<&str> = Vec::new();
                for segment in decoded.split(['/', '\\']).skip(1) {
                    match segment { "." => {}, ".." => { resolved.pop(); }, other => resolved.push(other) }
                }
                prop_assert_eq!(resolved.first(), Some(&"api"));
            }
        }
    }
}
