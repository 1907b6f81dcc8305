//! `couplet explain`: the pages of `docs/errors/`, inside the program, so that they are there without a network.

use couplet_protocol::Code;
use rust_embed::RustEmbed;

use crate::args::Explain;
use crate::failure::{Exit, Failure};
use crate::nearest::distance;
use crate::output;

#[derive(RustEmbed)]
#[folder = "../../docs/errors"]
#[allow_missing = true]
struct Pages;

/// Prints the page of a code, or the list of all codes.
pub(super) fn run(args: &Explain) -> anyhow::Result<()> {
    let Some(text) = &args.code else {
        return Ok(output::line(&list(Code::ALL))?);
    };
    let code = Code::parse(text.trim()).ok_or_else(|| unknown(text.trim()))?;
    Ok(output::line(page(code).trim_end())?)
}

fn page(code: Code) -> String {
    match Pages::get(&format!("{code}.md")) {
        Some(page) => String::from_utf8_lossy(&page.data).into_owned(),
        None => format!("# {code}: {}", code.title()),
    }
}

fn list(codes: &[Code]) -> String {
    codes.iter().map(|code| format!("{code}  {}", code.title())).collect::<Vec<_>>().join("\n")
}

fn unknown(text: &str) -> Failure {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let mut near: Vec<Code> = Code::ALL.to_vec();
    near.sort_by_key(|code| {
        let far = digits.parse::<u16>().map_or(u16::MAX, |number| number.abs_diff(code.number()));
        (distance(&digits, &code.number().to_string()), far)
    });
    near.truncate(5);
    near.sort();
    let detail = match digits.is_empty() {
        true => "A code looks like CPL-1203. List all: couplet explain".to_owned(),
        false => format!("Near it are:\n{}\nList all: couplet explain", list(&near)),
    };
    Failure::new(Exit::Usage, format!("There is no error code {:?}", output::plain(text)), detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails until `docs/errors/` holds the pages.
    #[test]
    fn every_code_has_a_page_and_every_page_a_code() {
        let mut wrong = Vec::new();
        for code in Code::ALL {
            let Some(page) = Pages::get(&format!("{code}.md")) else {
                wrong.push(format!("{code} has no page"));
                continue;
            };
            let text = String::from_utf8_lossy(&page.data).into_owned();
            let heading = format!("# {code}: {}", code.title());
            for line in [heading.as_str(), "## What happened", "## What to do"] {
                if !text.lines().any(|l| l.trim_end() == line) {
                    wrong.push(format!("{code}.md lacks the line {line:?}"));
                }
            }
        }
        for file in Pages::iter().filter(|file| file.starts_with("CPL-")) {
            let known = file.strip_suffix(".md").and_then(Code::parse).is_some_and(|code| format!("{code}.md") == file);
            if !known {
                wrong.push(format!("{file} has no code"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn an_unknown_code_names_near_ones() {
        let failure = unknown("CPL-1202");
        assert_eq!(failure.exit, Exit::Usage);
        for near in ["CPL-1201", "CPL-1203"] {
            assert!(failure.detail.contains(near), "{failure}");
        }
        assert!(unknown("nonsense").detail.contains("looks like CPL-1203"));
    }

    #[test]
    fn the_list_has_every_code_with_its_title() {
        let list = list(Code::ALL);
        assert_eq!(list.lines().count(), Code::ALL.len());
        assert!(list.contains("CPL-1203  The pairing token was already used"));
    }
}
