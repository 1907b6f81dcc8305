//! Server-sent events, as a relay sends them (HTML, 9.2), read with bounds: a relay is not trusted to keep them short.
//! sse-stream, which the command line uses for the host's own events, has no bound.

/// The longest event, in bytes. A relay's are below 1 KiB.
const EVENT_MAX: usize = 16 * 1024;

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) data: String,
}

/// What was sent is too long, or no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// Reads a stream in whatever pieces it comes.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    event: Event,
    /// How long the event is so far.
    size: usize,
    after_cr: bool,
}

impl Parser {
    /// Takes the next bytes; `found` is called with each event that they complete.
    pub(super) fn read(&mut self, bytes: &[u8], mut found: impl FnMut(Event)) -> Result<(), Unreadable> {
        for &byte in bytes {
            let ends = matches!(byte, b'\n' | b'\r');
            if std::mem::replace(&mut self.after_cr, byte == b'\r') && byte == b'\n' {
                continue;
            }
            if ends {
                if let Some(event) = self.end_line()? {
                    found(event);
                }
                continue;
            }
            self.size += 1;
            if self.size > EVENT_MAX {
                return Err(Unreadable);
            }
            self.line.push(byte);
        }
        Ok(())
    }

    fn end_line(&mut self) -> Result<Option<Event>, Unreadable> {
        if self.line.is_empty() {
            self.size = 0;
            let event = std::mem::take(&mut self.event);
            return Ok((!event.data.is_empty()).then_some(event));
        }
        let line = std::str::from_utf8(&self.line).map_err(|_| Unreadable)?;
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "id" => self.event.id = Some(value.to_owned()),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // A comment, or a field of a later version.
            _ => {}
        }
        self.line.clear();
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]]) -> Result<Vec<Event>, Unreadable> {
        let (mut parser, mut events) = (Parser::default(), Vec::new());
        pieces.iter().try_for_each(|piece| parser.read(piece, |event| events.push(event)))?;
        Ok(events)
    }

    #[test]
    fn events_are_read_and_comments_are_not() {
        let stream = b":\n\nid: ab\nevent: pair-cmd\ndata: {\"a\":1}\n\n:\n\nevent:drain\r\ndata: x\r\ndata: y\r\nretry: 1\r\n\r\n";
        let event = |id: Option<&str>, name: &str, data: &str| Event {
            id: id.map(str::to_owned),
            name: name.to_owned(),
            data: data.to_owned(),
        };
        let expected = [event(Some("ab"), "pair-cmd", "{\"a\":1}"), event(None, "drain", "x\ny")];
        assert_eq!(read(&[stream]).unwrap(), expected);
        assert_eq!(read(&[b"data: cut"]).unwrap(), [], "an event that did not end");
    }

    #[test]
    fn what_has_no_end_is_refused() {
        let long = vec![b'x'; EVENT_MAX + 1];
        assert_eq!(read(&[&long]), Err(Unreadable));
        let lines: Vec<u8> = b"data: xxxxxxxxxxxxxxxxxxxxxxxx\n".repeat(EVENT_MAX / 16);
        assert_eq!(read(&[&lines]), Err(Unreadable));
        let comments: Vec<u8> = b":\n\n".repeat(EVENT_MAX);
        assert_eq!(read(&[&comments]).unwrap(), [], "heartbeats go on for ever");
        assert_eq!(read(&[b"data: \xff\n"]), Err(Unreadable));
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_same_comes_out(
            stream in prop::collection::vec(prop::sample::select(b"data:id event\n\n\n\r\rx".to_vec()), 0..200),
            cuts in prop::collection::vec(0_usize..200, 0..6),
        ) {
            let mut at: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            at.sort_unstable();
            let ends = at.iter().copied().chain([stream.len()]);
            let mut start = 0;
            let pieces: Vec<&[u8]> = ends.map(|end| &stream[std::mem::replace(&mut start, end)..end]).collect();
            prop_assert_eq!(read(&pieces), read(&[&stream]));
        }
    }
}
