//! What a camera sees of a terminal: its cells as brightness, drawn in the colours that the program asked for.

use std::path::Path;

/// One character cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What stands in it.
    pub glyph: char,
    /// The brightness of its glyph; `None` is the terminal's own.
    pub foreground: Option<u8>,
    /// The brightness behind its glyph; `None` is the terminal's own.
    pub background: Option<u8>,
}

/// A terminal's own colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// Light letters on black.
    Dark,
    /// Black letters on white.
    Light,
}

impl Theme {
    /// The brightness of letters, and behind them.
    fn brightness(self) -> (u8, u8) {
        match self {
            Theme::Dark => (220, 0),
            Theme::Light => (30, 255),
        }
    }
}

/// The pixels of half a cell, in both directions.
const HALF: usize = 8;
/// The cells around the screen: the terminal's window goes on.
const MARGIN: usize = 2;

/// Reads rows of text with SGR sequences, as `tmux capture-pane -e` prints them.
pub(crate) fn cells(text: &str) -> Vec<Vec<Cell>> {
    let (mut foreground, mut background) = (None, None);
    let row = |line: &str| {
        let mut row = Vec::new();
        let mut chars = line.chars();
        while let Some(glyph) = chars.next() {
            if glyph == '\x1b' {
                let sequence: String = chars.by_ref().take_while(|c| !c.is_ascii_alphabetic()).collect();
                colours(sequence.trim_start_matches('['), &mut foreground, &mut background);
            } else {
                row.push(Cell { glyph, foreground, background });
            }
        }
        row
    };
    text.lines().map(row).collect()
}

fn colours(sequence: &str, foreground: &mut Option<u8>, background: &mut Option<u8>) {
    let numbers: Vec<u8> = sequence.split([';', ':']).map(|number| number.parse().unwrap_or(0)).collect();
    let mut rest = numbers.as_slice();
    while let [code, more @ ..] = rest {
        rest = more;
        match (*code, more) {
            (0, _) => (*foreground, *background) = (None, None),
            (38, [5, colour, more @ ..]) => (*foreground, rest) = (Some(brightness(*colour)), more),
            (48, [5, colour, more @ ..]) => (*background, rest) = (Some(brightness(*colour)), more),
            (39, _) => *foreground = None,
            (49, _) => *background = None,
            (30..=37, _) => *foreground = Some(brightness(*code - 30)),
            (40..=47, _) => *background = Some(brightness(*code - 40)),
            // Bold, faint, underlined: as bright as before.
            (1..=29, _) => {}
            _ => panic!("an unknown colour: {sequence:?}"),
        }
    }
}

/// The brightness of a colour of the palette of 256.
fn brightness(colour: u8) -> u8 {
    let of = |[r, g, b]: [u32; 3]| u8::try_from((r * 299 + g * 587 + b * 114) / 1000).unwrap();
    match colour {
        // Themes decide on these: as they stand in xterm.
        0..=15 => {
            let bit = |at: u8| u32::from(colour >> at & 1) * if colour < 8 { 205 } else { 255 };
            of([bit(0), bit(1), bit(2)])
        }
        16..=231 => {
            let level = |digit: u8| if digit == 0 { 0 } else { 55 + 40 * u32::from(digit) };
            let cube = colour - 16;
            of([level(cube / 36), level(cube / 6 % 6), level(cube % 6)])
        }
        232..=255 => 8 + 10 * (colour - 232),
    }
}

/// Writes a picture of the cells as PGM.
pub fn write(path: &Path, rows: &[Vec<Cell>], theme: Theme) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0) + 2 * MARGIN;
    let (width, height) = (columns * HALF, (rows.len() + 2 * MARGIN) * 2 * HALF);
    let mut pixels = vec![theme.brightness().1; width * height];
    for (y, row) in rows.iter().enumerate() {
        for (x, cell) in row.iter().enumerate() {
            for (line, run) in drawn(*cell, theme).into_iter().enumerate() {
                let at = ((y + MARGIN) * 2 * HALF + line) * width + (x + MARGIN) * HALF;
                pixels[at..at + HALF].copy_from_slice(&run);
            }
        }
    }
    let head = format!("P5\n{width} {height}\n255\n");
    std::fs::write(path, [head.as_bytes(), &pixels].concat()).unwrap();
}

/// The pixels of one cell. Letters are blots: nobody reads them here, but they must not disturb a reader.
fn drawn(cell: Cell, theme: Theme) -> [[u8; HALF]; 2 * HALF] {
    let (letters, behind) = theme.brightness();
    let ink = cell.foreground.unwrap_or(letters);
    let paper = cell.background.unwrap_or(behind);
    let mut drawn = [[paper; HALF]; 2 * HALF];
    let inked = match cell.glyph {
        ' ' => 0..0,
        '█' => 0..2 * HALF,
        '▀' => 0..HALF,
        '▄' => HALF..2 * HALF,
        _ => {
            for line in &mut drawn[HALF / 2..HALF + HALF / 2] {
                line[2..HALF - 2].fill(ink);
            }
            0..0
        }
    };
    for line in &mut drawn[inked] {
        *line = [ink; HALF];
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_last_until_they_change() {
        let rows = cells("a\x1b[38;5;16;48;5;231m▀\nb\x1b[39mc\x1b[0md\x1b[1;41me");
        let colours: Vec<_> = rows.concat().iter().map(|c| (c.glyph, c.foreground, c.background)).collect();
        assert_eq!(
            colours,
            [
                ('a', None, None),
                ('▀', Some(0), Some(255)),
                ('b', Some(0), Some(255)),
                ('c', None, Some(255)),
                ('d', None, None),
                ('e', None, Some(61)),
            ]
        );
    }

    #[test]
    fn what_nobody_painted_has_the_terminals_colour() {
        let cell = |glyph| Cell { glyph, foreground: None, background: None };
        assert_eq!(drawn(cell(' '), Theme::Dark)[0][0], 0);
        assert_eq!(drawn(cell('▄'), Theme::Light)[HALF - 1][0], 255);
        assert_eq!(drawn(cell('▄'), Theme::Light)[HALF][0], 30);
    }
}
