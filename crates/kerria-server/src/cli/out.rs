//! Everything that the command line prints.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use super::failure::Failure;

/// Where people and programs read what came out.
pub(super) struct Out {
    stdout: Box<dyn Write>,
    stderr: Box<dyn Write>,
    /// Whether programs read it.
    pub(super) json: bool,
    colour: bool,
    progress: bool,
}

/// How a word is coloured on a terminal. Nothing is told by the colour alone.
#[derive(Clone, Copy)]
pub(super) enum Paint {
    Strong,
    Good,
    Doubtful,
    Bad,
}

impl Out {
    /// The process's own output. `no_colour` is what <https://no-color.org> describes.
    pub(super) fn of_process(json: bool, no_colour: bool) -> Self {
        Self {
            stdout: Box::new(io::BufWriter::new(io::stdout())),
            stderr: Box::new(io::stderr()),
            json,
            colour: io::stdout().is_terminal() && !no_colour,
            progress: io::stderr().is_terminal(),
        }
    }

    /// Prints text as it is.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.stdout.write_all(text.as_bytes()).map_err(Failure::of_output)
    }

    /// Prints a line.
    pub(super) fn line(&mut self, line: &str) -> Result<(), Failure> {
        writeln!(self.stdout, "{line}").map_err(Failure::of_output)
    }

    /// Prints a document for programs.
    pub(super) fn document(&mut self, document: &Value) -> Result<(), Failure> {
        writeln!(self.stdout, "{document:#}").map_err(Failure::of_output)
    }

    /// Prints what was done: the sentence for people, the document for programs.
    pub(super) fn done(&mut self, sentence: &str, document: &Value) -> Result<(), Failure> {
        if self.json { self.document(document) } else { self.line(sentence) }
    }

    /// Says something beside the output. It is lost if nobody can read it.
    pub(super) fn note(&mut self, note: &str) {
        writeln!(self.stderr, "{note}").ok();
    }

    /// Shows how far long work is, if somebody watches.
    pub(super) fn progress(&mut self, what: &str, done: u64, of: u64) {
        if self.progress && of > 0 {
            let end = if done >= of { "\n" } else { "" };
            let percent = u128::from(done) * 100 / u128::from(of);
            write!(self.stderr, "\r{what} {percent} %{end}").ok();
            self.stderr.flush().ok();
        }
    }

    /// Colours a word if that is wanted.
    pub(super) fn paint(&self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Strong => "1",
            Paint::Good => "32",
            Paint::Doubtful => "33",
            Paint::Bad => "31",
        };
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Hands on what is still held back.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.stdout.flush().map_err(Failure::of_output)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;

    use super::*;

    /// Paper to print on.
    #[derive(Clone, Default)]
    pub(in crate::cli) struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Paper {
        pub(in crate::cli) fn out(&self, json: bool) -> Out {
            let (stdout, stderr) = (Box::new(self.clone()), Box::new(self.clone()));
            Out { stdout, stderr, json, colour: false, progress: false }
        }

        pub(in crate::cli) fn read(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A reader who has gone, as `head` does.
    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_who_has_gone_is_no_failure() {
        let mut out = Out { stdout: Box::new(Gone), ..Paper::default().out(false) };
        assert!(matches!(out.line("hello"), Err(Failure::ReaderGone)));
    }

    #[test]
    fn people_read_a_sentence_and_programs_a_document() {
        for (json, expected) in [(false, "Done.\n"), (true, "{\n  \"ended\": 1\n}\n")] {
            let paper = Paper::default();
            paper.out(json).done("Done.", &json!({"ended": 1})).unwrap();
            assert_eq!(paper.read(), expected);
        }
    }

    #[test]
    fn colour_is_for_terminals() {
        let mut out = Paper::default().out(false);
        assert_eq!(out.paint(Paint::Bad, "fail"), "fail");
        out.colour = true;
        assert_eq!(out.paint(Paint::Bad, "fail"), "\u{1b}[31mfail\u{1b}[0m");
    }
}
