//! QR codes in half blocks: one character cell shows two modules, one above the other.
//!
//! A code must be dark on light with a light quiet zone, or many readers refuse it, whatever colours the terminal
//! has. So every cell names its foreground and its background, from the fixed part of the 256-colour palette that
//! themes leave alone. `NO_COLOR` does not change this: it asks for no decoration, and here the colours are the
//! content. (For the same reason crossterm's colours, which obey it, are not used.)

use couplet_host::TooLong;

/// The light modules around the code.
const QUIET: usize = 2;
const RESET: &str = "\x1b[0m";
const DARK_ON_DARK: &str = "\x1b[38;5;16;48;5;16m";
const DARK_ON_LIGHT: &str = "\x1b[38;5;16;48;5;231m";

/// A code, ready to be drawn.
#[derive(Clone, Debug)]
pub(crate) struct Qr(couplet_host::Qr);

impl Qr {
    /// The code that holds `text`.
    pub(crate) fn new(text: &str) -> Result<Qr, TooLong> {
        couplet_host::Qr::new(text).map(Qr)
    }

    /// How many columns the drawn code takes.
    pub(crate) fn columns(&self) -> usize {
        self.0.width() + 2 * QUIET
    }

    /// How many rows the drawn code takes.
    pub(crate) fn rows(&self) -> usize {
        self.columns().div_ceil(2)
    }

    /// The drawn code, a string for each row.
    pub(crate) fn lines(&self) -> Vec<String> {
        (0..self.rows()).map(|row| self.line(2 * row)).collect()
    }

    fn is_dark(&self, x: usize, y: usize) -> bool {
        let inside = |at: usize| at.checked_sub(QUIET);
        inside(x).zip(inside(y)).is_some_and(|(x, y)| self.0.is_dark(x, y))
    }

    fn line(&self, y: usize) -> String {
        let mut line = String::new();
        let mut colours = "";
        for x in 0..self.columns() {
            // The glyphs alone show the code too, so that a capture without colours can still be read by eye. A
            // full block is drawn on a dark background because some fonts leave a gap around it.
            let (glyph, wanted) = match (self.is_dark(x, y), self.is_dark(x, y + 1)) {
                (true, true) => ('█', DARK_ON_DARK),
                (true, false) => ('▀', DARK_ON_LIGHT),
                (false, true) => ('▄', DARK_ON_LIGHT),
                (false, false) => (' ', DARK_ON_LIGHT),
            };
            if wanted != colours {
                line.push_str(wanted);
                colours = wanted;
            }
            line.push(glyph);
        }
        line + RESET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "couplet://192.168.100.100:7878?pair=otp_Zm9vYmFyYmF6cXV4cXV1eA";

    /// What a camera sees: brightness of each pixel, on a terminal with these default colours.
    fn look(lines: &[String], terminal_fg: u8, terminal_bg: u8) -> Vec<Vec<u8>> {
        let margin = 3;
        let columns = 37 + 2 * margin;
        let mut pixels = vec![vec![terminal_bg; columns]; 2 * margin];
        for line in lines {
            let (mut fg, mut bg) = (terminal_fg, terminal_bg);
            let mut halves = [vec![terminal_bg; margin], vec![terminal_bg; margin]];
            let mut chars = line.chars();
            while let Some(c) = chars.next() {
                let (upper, lower) = match c {
                    '\x1b' => {
                        let sequence: String = chars.by_ref().take_while(|c| *c != 'm').collect();
                        (fg, bg) = match sequence.as_str() {
                            "[0" => (terminal_fg, terminal_bg),
                            "[38;5;16;48;5;16" => (0, 0),
                            "[38;5;16;48;5;231" => (0, 255),
                            other => panic!("unknown sequence {other}"),
                        };
                        continue;
                    }
                    '█' => (fg, fg),
                    '▀' => (fg, bg),
                    '▄' => (bg, fg),
                    ' ' => (bg, bg),
                    other => panic!("unknown glyph {other}"),
                };
                halves[0].push(upper);
                halves[1].push(lower);
            }
            for mut half in halves {
                half.resize(columns.max(half.len()), terminal_bg);
                pixels.push(half);
            }
        }
        let end = pixels.len() + 2 * margin;
        pixels.resize(end, vec![terminal_bg; columns]);
        pixels
    }

    fn read(pixels: &[Vec<u8>]) -> String {
        let scale = 6;
        let (width, height) = (pixels[0].len() * scale, pixels.len() * scale);
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| pixels[y / scale][x / scale]);
        let grids = image.detect_grids();
        assert_eq!(grids.len(), 1, "one code in the picture");
        grids[0].decode().unwrap().1
    }

    #[test]
    fn readers_read_it_on_dark_and_on_light_terminals() {
        let lines = Qr::new(URL).unwrap().lines();
        assert_eq!(read(&look(&lines, 255, 0)), URL, "light on dark");
        assert_eq!(read(&look(&lines, 0, 255)), URL, "dark on light");
        assert_eq!(read(&look(&lines, 128, 130)), URL, "no contrast");
    }

    #[test]
    fn it_is_dark_on_light_with_a_light_frame_of_two_modules() {
        let pixels = look(&Qr::new(URL).unwrap().lines(), 255, 7);
        let code: Vec<&[u8]> = pixels[6..6 + 37].iter().map(|row| &row[3..3 + 37]).collect();
        for (y, row) in code.iter().enumerate() {
            for (x, pixel) in row.iter().enumerate() {
                let in_frame = x < 2 || y < 2 || x >= 35 || y >= 35;
                assert!(*pixel == 255 || (*pixel == 0 && !in_frame), "{x},{y}");
            }
        }
        assert_eq!(code[2][2..9], [0; 7], "the finder's edge is dark");
    }

    #[test]
    fn the_longest_ipv4_offer_leaves_room_on_80_by_24() {
        let qr = Qr::new(URL).unwrap();
        assert!(qr.columns() <= 80 && qr.rows() + 5 <= 24, "{} x {}", qr.columns(), qr.rows());
        assert!(qr.lines().iter().all(|line| line.ends_with(RESET)));
    }

    #[test]
    fn what_no_code_can_hold_is_an_error() {
        assert!(Qr::new(&"x".repeat(4000)).is_err());
    }
}
