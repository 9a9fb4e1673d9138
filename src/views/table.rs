//! Tables of text.

use super::Printer;

/// A table whose columns are as wide as their widest cell.
#[derive(Debug, Default)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        Table {
            head: head.map(Into::into).to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row of as many cells as there are headings.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }

    /// The lines, headings bold.
    pub fn lines(&self, printer: &Printer) -> Vec<String> {
        let width = |column: usize| {
            let cells = std::iter::once(&self.head).chain(&self.rows);
            cells
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, &width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("   ").trim_end().to_string()
        };
        let head = printer.bold(&line(&self.head));
        std::iter::once(head)
            .chain(self.rows.iter().map(line))
            .collect()
    }

    /// Prints it on stdout.
    pub fn print(&self, printer: &Printer) {
        for line in self.lines(printer) {
            printer.data(&line);
        }
    }
}
