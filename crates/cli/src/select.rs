//! Finds the one that was meant: by id, by the beginning of an id, or by name.

use couplet_protocol::Code;
use uuid::Uuid;

use crate::failure::{Exit, Failure};
use crate::output::plain;

/// What can be picked.
pub(crate) trait Pick {
    /// Its id, in lower case.
    fn id(&self) -> String;
    /// What people call it.
    fn name(&self) -> &str;
}

/// The first eight characters of an id: what tables show and what may be typed.
pub(crate) fn short(id: Uuid) -> String {
    id.to_string()[..8].to_owned()
}

/// Picks one item.
///
/// # Errors
/// None or several match; then they are listed.
pub(crate) fn pick<'a, T: Pick>(items: &'a [T], wanted: &str, absent: Code) -> Result<&'a T, Failure> {
    let wanted = wanted.trim();
    let lower = wanted.to_lowercase();
    if let Some(item) = items.iter().find(|item| item.id() == lower) {
        return Ok(item);
    }
    let meant = |item: &&T| {
        let by_id = !lower.is_empty() && item.id().starts_with(&lower);
        by_id || item.name().to_lowercase() == lower
    };
    let found: Vec<&T> = items.iter().filter(meant).collect();
    match found.as_slice() {
        [item] => Ok(item),
        [] => Err(Failure::of(absent, format!("Nothing matches {wanted:?}. {}", list(items.iter())))),
        several => Err(Failure::new(
            Exit::Usage,
            format!("{wanted:?} may mean any of {}", several.len()),
            format!("Write more of the id. {}", list(several.iter().copied())),
        )),
    }
}

fn list<'a, T: Pick + 'a>(items: impl Iterator<Item = &'a T>) -> String {
    let lines: Vec<String> = items.map(|item| format!("\n{}  {}", item.id(), plain(item.name()))).collect();
    if lines.is_empty() { "There is none.".to_owned() } else { format!("There are:{}", lines.concat()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Pick for (u128, &str) {
        fn id(&self) -> String {
            Uuid::from_u128(self.0).to_string()
        }
        fn name(&self) -> &str {
            self.1
        }
    }

    const A: u128 = 0x3f2a_0000_0000_4000_8000_0000_0000_0001;
    const B: u128 = 0x3f2b_0000_0000_4000_8000_0000_0000_0002;
    const C: u128 = 0x0bad_0000_0000_4000_8000_0000_0000_0003;
    const ITEMS: [(u128, &str); 4] = [(A, "iPad"), (B, "Phone"), (C, "Phone"), (7, "3f2b")];

    fn found(wanted: &str) -> Option<u128> {
        pick(&ITEMS, wanted, Code::NoSuchDevice).ok().map(|item| item.0)
    }

    #[test]
    fn one_match_is_taken() {
        assert_eq!(found("ipad"), Some(A));
        assert_eq!(found("3F2A"), Some(A));
        assert_eq!(found("0"), None, "7 begins with zeros too");
        assert_eq!(found("0b"), Some(C));
        assert_eq!(found(&Uuid::from_u128(B).to_string()), Some(B));
    }

    #[test]
    fn several_or_none_are_listed() {
        let several = pick(&ITEMS, "phone", Code::NoSuchDevice).unwrap_err();
        assert_eq!(several.exit, Exit::Usage);
        assert!(several.detail.contains(&Uuid::from_u128(B).to_string()), "{several}");
        assert!(several.detail.contains(&Uuid::from_u128(C).to_string()), "{several}");
        assert!(pick(&ITEMS, "3f2b", Code::NoSuchDevice).is_err(), "one's id, another's name");
        let none = pick(&ITEMS, "", Code::NoSuchDevice).unwrap_err();
        assert!(none.is(Code::NoSuchDevice), "{none}");
        assert!(pick(&ITEMS[..0], "x", Code::NoSuchDevice).unwrap_err().detail.ends_with("There is none."));
    }
}
