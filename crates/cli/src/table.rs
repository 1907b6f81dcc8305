//! Columns that line up, also when a name is written in wide characters.

use unicode_width::UnicodeWidthStr;

/// Renders rows under their headings, two spaces between columns, no trailing spaces.
pub(crate) fn render<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = headings.map(UnicodeWidthStr::width);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let headings = headings.map(str::to_owned);
    let lines = std::iter::once(&headings).chain(rows).map(|row| one(row, &widths));
    lines.collect::<Vec<_>>().join("\n")
}

fn one(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in row.iter().zip(widths) {
        line.push_str(cell);
        line.push_str(&" ".repeat(width - cell.width().min(*width) + 2));
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_with_wide_and_empty_cells() {
        let rows = [["1".into(), "寝室".into(), "x".into()], ["22".into(), "iPad Pro".into(), String::new()]];
        assert_eq!(
            render(["ID", "NAME", "S"], &rows),
            "ID  NAME      S\n\
             1   寝室      x\n\
             22  iPad Pro"
        );
        assert_eq!(render(["A", "B"], &[]), "A  B");
    }
}
