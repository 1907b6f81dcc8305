//! QR codes: what is dark and what is light, for whoever draws them.

use std::fmt::Write;

use qrcode::{Color, EcLevel, QrCode};

/// A code, without the light frame that it needs around it.
#[derive(Clone, Debug)]
pub struct Qr {
    width: usize,
    dark: Vec<bool>,
}

/// The text does not fit into any code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too long for a QR code")]
pub struct TooLong;

impl Qr {
    /// The smallest code that holds `text`, with the best error correction that does not make it larger.
    ///
    /// # Errors
    /// The text is too long.
    pub fn new(text: &str) -> Result<Qr, TooLong> {
        let mut best = QrCode::with_error_correction_level(text, EcLevel::L).map_err(|_| TooLong)?;
        for level in [EcLevel::M, EcLevel::Q, EcLevel::H] {
            match QrCode::with_error_correction_level(text, level) {
                Ok(code) if code.width() == best.width() => best = code,
                _ => break,
            }
        }
        Ok(Qr { width: best.width(), dark: best.to_colors().iter().map(|c| *c == Color::Dark).collect() })
    }

    /// How many modules each side has.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Whether the module is dark; what is outside is light.
    #[must_use]
    pub fn is_dark(&self, x: usize, y: usize) -> bool {
        x < self.width && y < self.width && self.dark[y * self.width + x]
    }

    /// The dark modules as an SVG path, a unit each: a rectangle for each run in a row.
    #[must_use]
    pub fn path(&self) -> String {
        let mut path = String::new();
        for y in 0..self.width {
            let mut x = 0;
            while x < self.width {
                let run = (x..self.width).take_while(|x| self.is_dark(*x, y)).count();
                if run > 0 {
                    // Writing into a string does not fail.
                    let _ = write!(path, "M{x} {y}h{run}v1h-{run}z");
                }
                x += run.max(1);
            }
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_draws_every_dark_module_and_no_other() {
        let qr = Qr::new("couplet://192.168.100.100:7878?pair=otp_Zm9vYmFyYmF6cXV4cXV1eA").unwrap();
        let mut drawn = vec![false; qr.width() * qr.width()];
        for rectangle in qr.path().split_terminator('z') {
            let numbers: Vec<usize> =
                rectangle.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect();
            let [x, y, run, 1, back] = numbers[..] else { panic!("{rectangle}") };
            assert_eq!(run, back);
            (x..x + run).for_each(|x| drawn[y * qr.width() + x] = true);
        }
        assert_eq!(drawn, qr.dark);
        assert!(qr.path().starts_with("M0 0h7v1h-7z"), "the finder's edge: {}", qr.path());
    }

    #[test]
    fn what_no_code_can_hold_is_an_error() {
        assert_eq!(Qr::new(&"x".repeat(4000)).unwrap_err(), TooLong);
    }
}
