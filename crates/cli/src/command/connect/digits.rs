//! A check code that can be read from across the room.

/// Each digit in five rows of three.
const GLYPHS: [[&str; 5]; 10] = [
    ["███", "█ █", "█ █", "█ █", "███"],
    [" █ ", "██ ", " █ ", " █ ", "███"],
    ["███", "  █", "███", "█  ", "███"],
    ["███", "  █", "███", "  █", "███"],
    ["█ █", "█ █", "███", "  █", "  █"],
    ["███", "█  ", "███", "  █", "███"],
    ["███", "█  ", "███", "█ █", "███"],
    ["███", "  █", "  █", " █ ", " █ "],
    ["███", "█ █", "███", "█ █", "███"],
    ["███", "█ █", "███", "  █", "███"],
];

/// The digits of `code` in five lines; what is no digit becomes a gap.
pub(super) fn large(code: &str) -> String {
    let row = |row: usize| {
        let glyph = |c: char| c.to_digit(10).and_then(|digit| GLYPHS.get(digit as usize)).map_or("", |rows| rows[row]);
        let line: Vec<&str> = code.chars().map(glyph).collect();
        format!("  {}", line.join("  ")).trim_end().to_owned()
    };
    (0..5).map(row).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_side_by_side() {
        assert_eq!(
            large("17 0"),
            "   █   ███    ███\n  ██     █    █ █\n   █     █    █ █\n   █    █     █ █\n  ███   █     ███"
        );
        let distinct: std::collections::BTreeSet<_> = GLYPHS.iter().collect();
        assert_eq!(distinct.len(), 10);
    }
}
