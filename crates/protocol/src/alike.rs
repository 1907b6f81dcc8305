//! Which names a person takes for the same one.

use icu_normalizer::ComposingNormalizerBorrowed;

/// Whether two names differ in nothing but how their characters are written (NFKC, UAX #15), large and small letters,
/// spaces and marks between letters. Letters that look the same, of one script (l and I) or of two, count as others.
#[must_use]
pub fn alike(one: &str, other: &str) -> bool {
    reduced(one) == reduced(other)
}

fn reduced(name: &str) -> String {
    let nfkc = ComposingNormalizerBorrowed::new_nfkc();
    // What is small letters only after composing, and the other way round.
    let folded = nfkc.normalize(&nfkc.normalize(name).to_lowercase()).into_owned();
    let letters: String = folded.chars().filter(|c| c.is_alphanumeric()).collect();
    // A name of pictures alone is compared by those, however they are joined or to be drawn.
    let is_drawn = |c: &char| !matches!(c, '\u{FE00}'..='\u{FE0F}' | '\u{200B}'..='\u{200D}' | ' ');
    if letters.is_empty() { folded.chars().filter(is_drawn).collect() } else { letters }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_the_same_are() {
        for other in ["iPad", "IPAD", "ipad", "ｉＰａｄ", "i Pad", "iPad.", "ⅰPad", "iPad\u{200D}"] {
            assert!(alike("iPad", other), "{other}");
        }
        assert!(alike("Anna's iPad", "Anna’s iPad") && alike("Café", "Cafe\u{301}") && alike("ΣΑΣ", "σας"));
        for (one, other) in [("iPad", "iPhone"), ("iPad", "iPad 2"), ("📱", "💻"), ("寝室", "居間")] {
            assert!(!alike(one, other), "{one} {other}");
        }
        assert!(alike("📱", "📱") && alike("📱", "📱\u{FE0F}"));
    }
}
