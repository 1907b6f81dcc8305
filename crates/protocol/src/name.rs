//! Names that a person gave: checked once at the edge, safe to show in a terminal, a page or a header afterwards.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

/// The most Unicode scalars that a device name or model may have, after trimming.
pub const NAME_MAX: usize = 64;

/// What stays as it is in a header value: RFC 3986 unreserved.
const HEADER: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why a name was refused. The texts say what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing is left after trimming.
    #[error("it is empty: give the device a name of 1 to {NAME_MAX} characters")]
    Empty,
    /// More than [`NAME_MAX`] scalars.
    #[error("it is longer than {NAME_MAX} characters: shorten it")]
    TooLong,
    /// A control, bidirectional or invisible formatting character.
    #[error("it contains the control character U+{0:04X}: leave it out")]
    Forbidden(u32),
}

/// Control characters, and the formatting characters that reorder, hide or split text: with them a name
/// could pose as another one in a list or overwrite a terminal line.
fn forbidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180E}' | '\u{200B}' | '\u{200E}' | '\u{200F}'
            | '\u{2028}'..='\u{202E}' | '\u{2800}' | '\u{3164}' | '\u{FFA0}' | '\u{FE00}'..='\u{FE0E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}'
            | '\u{E0001}'..='\u{E01EF}')
}

fn checked(text: &str) -> Result<String, NameError> {
    let trimmed = text.trim();
    if let Some(c) = trimmed.chars().find(|c| forbidden(*c)) {
        return Err(NameError::Forbidden(c.into()));
    }
    // Joiners belong between other characters, and emoji's variation selector behind what is no letter: elsewhere
    // they make names that look empty, or like another one.
    let mut before = None;
    for c in trimmed.chars() {
        let misplaced = match c {
            '\u{200D}' | '\u{200C}' => before.is_none(),
            '\u{FE0F}' => before.is_none_or(char::is_alphabetic),
            _ => false,
        };
        if misplaced {
            return Err(NameError::Forbidden(c.into()));
        }
        before = Some(c);
    }
    match trimmed.chars().take(NAME_MAX + 1).count() {
        0 => Err(NameError::Empty),
        n if n > NAME_MAX => Err(NameError::TooLong),
        _ => Ok(trimmed.to_owned()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Trims and checks.
            ///
            /// # Errors
            /// Says which rule the text breaks.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                checked(text).map(Self)
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text as percent-encoded UTF-8, fit for a header value.
            #[must_use]
            pub fn to_header(&self) -> String {
                utf8_percent_encode(&self.0, HEADER).to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

name! {
    /// What the device's user calls it: 1 to 64 Unicode scalars after trimming, no control and no
    /// bidirectional characters.
    DeviceName
}
name! {
    /// The device's model as the device tells it, under the same rules as [`DeviceName`].
    DeviceModel
}
name! {
    /// The device's system as the device tells it, `iOS 19` or `Linux`, under the same rules as [`DeviceName`].
    DevicePlatform
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn real_names_pass_and_are_trimmed() {
        for name in ["iPad Pro", "Zoë’s Gerät", "寝室のタブレット", "👩‍👩‍👧 phone", "❤️ 1️⃣", "a"]
        {
            assert_eq!(DeviceName::parse(&format!("  {name}\n")).unwrap().as_str(), name);
        }
        assert!(DeviceName::parse(&"é".repeat(64)).is_ok());
    }

    #[test]
    fn what_could_fool_a_reader_is_refused() {
        assert_eq!(DeviceName::parse(" \t "), Err(NameError::Empty));
        assert_eq!(DeviceName::parse(&"é".repeat(65)), Err(NameError::TooLong));
        for (name, c) in [
            ("a\0b", 0),
            ("a\u{202E}b", 0x202E),
            ("a\u{2066}b", 0x2066),
            ("a\x1b[2Jb", 0x1b),
            ("a\u{85}b", 0x85),
            ("\u{200D}", 0x200D),
            ("iPad\u{FE0F}", 0xFE0F),
            ("\u{3164}", 0x3164),
            ("\u{2800}", 0x2800),
        ] {
            assert_eq!(DeviceName::parse(name), Err(NameError::Forbidden(c)));
        }
    }

    proptest! {
        #[test]
        fn whatever_passes_is_a_fixed_point_and_fits_a_header(text in "\\PC{0,80}|(?s).{0,80}") {
            if let Ok(name) = DeviceName::parse(&text) {
                prop_assert_eq!(DeviceName::parse(name.as_str()).unwrap(), name.clone());
                prop_assert!(name.as_str().chars().count() <= NAME_MAX);
                prop_assert!(name.to_header().bytes().all(|b| b.is_ascii_graphic()));
            }
        }
    }
}
