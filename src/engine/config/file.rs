//! Configuration files and command-line arguments, as text.
//!
//! A file is a sequence of lines, a line is a directive with arguments; arguments of the process
//! become further lines, as in Redis. Files are not opened here: [`Config::load`] stops at each
//! `include`, so that the caller can load the included files at exactly that place.
//! Counterpart: `loadServerConfigFromString` and the argument loop of `main` in Redis.

use super::{Acts, Config, Directives, Kind, Param, Text, quote};
use core::fmt;

/// Splits a line into words: `"…"` with `\n`, `\x41` and the like, `'…'` with `\'`, or bare words.
/// `None` if a quote is not closed, or text follows a closing quote.
pub fn parse_line(line: &[u8]) -> Option<Vec<Text>> {
    let mut words = Vec::new();
    let mut rest = trim_start(line);
    while !rest.is_empty() {
        let mut word = Vec::new();
        rest = trim_start(parse_word(rest, &mut word)?);
        words.push(word);
    }
    Some(words)
}

/// Reads one word, which may consist of bare and quoted stretches; gives what follows it.
fn parse_word<'a>(mut rest: &'a [u8], word: &mut Text) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return Some(rest),
            [quote @ (b'"' | b'\''), after @ ..] => {
                rest = match quote {
                    b'"' => parse_double(after, word)?,
                    _ => parse_single(after, word)?,
                };
                let ends = rest.first().is_none_or(is_space);
                return ends.then_some(rest);
            }
            [byte, after @ ..] => {
                if is_space(byte) {
                    return Some(rest);
                }
                word.push(*byte);
                rest = after;
            }
        }
    }
}

fn trim_start(line: &[u8]) -> &[u8] {
    let blanks = line.iter().take_while(|byte| is_space(byte)).count();
    &line[blanks..]
}

fn is_space(byte: &u8) -> bool {
    byte.is_ascii_whitespace() || *byte == 0x0b
}

fn parse_double<'a>(mut rest: &'a [u8], word: &mut Text) -> Option<&'a [u8]> {
    let hex = |digit: &u8| (*digit as char).to_digit(16).map(|it| it as u8);
    loop {
        match rest {
            [] => return None,
            [b'"', after @ ..] => return Some(after),
            [b'\\', b'x', high, low, after @ ..] if hex(high).is_some() && hex(low).is_some() => {
                word.push(hex(high)? << 4 | hex(low)?);
                rest = after;
            }
            [b'\\', byte, after @ ..] => {
                word.push(match byte {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                rest = after;
            }
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
        }
    }
}

fn parse_single<'a>(mut rest: &'a [u8], word: &mut Text) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return None,
            [b'\'', after @ ..] => return Some(after),
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                rest = after;
            }
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
        }
    }
}

/// A text of directives that is being loaded, and how far.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    rest: Option<&'a [u8]>,
    line: usize,
    /// Things the user should be told at start, in plain words.
    pub warnings: Vec<String>,
}

impl<'a> Source<'a> {
    /// A text from its first line.
    pub fn new(text: &'a [u8]) -> Source<'a> {
        Source { rest: Some(text), line: 0, warnings: Vec::new() }
    }

    /// The next line, without blanks at its ends.
    fn next_line(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        self.line += 1;
        let (line, rest) = match rest.iter().position(|&byte| byte == b'\n') {
            Some(end) => (&rest[..end], Some(&rest[end + 1..])),
            None => (rest, None),
        };
        self.rest = rest;
        Some(trim(line))
    }
}

/// Strips what Redis strips from both ends of a line.
pub(super) fn trim(line: &[u8]) -> &[u8] {
    let blank = |byte: &u8| b" \t\r\n".contains(byte);
    let start = line.iter().position(|byte| !blank(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !blank(byte)).map_or(start, |at| at + 1);
    &line[start..end]
}

/// Why [`Config::load`] returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `include <path or glob pattern>`: load what it names, then call again. A pattern that names
    /// nothing is no error; a plain path that cannot be read is.
    Include(Text),
    /// The text is loaded.
    Done,
}

/// What is wrong in a configuration file. `Display` gives what Redis prints before it exits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// Version of the server, as configured so far.
    pub version: Text,
    /// Number and text of the line, unless it is not about one line.
    pub line: Option<(usize, Text)>,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let version = String::from_utf8_lossy(&self.version);
        writeln!(f, "\n*** FATAL CONFIG FILE ERROR (Redis {version}) ***")?;
        if let Some((number, line)) = &self.line {
            writeln!(f, "Reading the configuration file, at line {number}")?;
            writeln!(f, ">>> '{}'", String::from_utf8_lossy(line))?;
        }
        f.write_str(&self.reason)
    }
}

impl core::error::Error for FileError {}

/// Directives that older versions had and newer ones skip.
const DEPRECATED: [&[u8]; 3] = [b"list-max-ziplist-entries", b"list-max-ziplist-value", b"lua-replicate-commands"];

impl Config {
    /// Loads directives until the next `include` or the end of the text.
    ///
    /// # Errors
    /// The first line that is wrong. The configuration is partly loaded then, and of no use.
    pub fn load(&mut self, source: &mut Source) -> Result<Step, FileError> {
        while let Some(line) = source.next_line() {
            if line.is_empty() || line[0] == b'#' {
                continue;
            }
            match self.load_line(line, &mut source.warnings) {
                Ok(None) => {}
                Ok(Some(include)) => return Ok(Step::Include(include)),
                Err(reason) => {
                    return Err(FileError { line: Some((source.line, line.to_vec())), ..self.file_error(reason) });
                }
            }
        }
        Ok(Step::Done)
    }

    /// Checks what concerns more than one directive, when all is loaded.
    ///
    /// # Errors
    /// A contradiction, in Redis' words.
    pub fn check(&self) -> Result<(), FileError> {
        if self.cluster_enabled && self.replicaof.is_some() {
            let reason = "replicaof directive not allowed in cluster mode";
            return Err(self.file_error(reason.to_string()));
        }
        Ok(())
    }

    fn file_error(&self, reason: String) -> FileError {
        FileError { version: self.haversack_server_version.clone(), line: None, reason }
    }

    /// Loads one directive; gives the argument of an `include`.
    fn load_line(&mut self, line: &[u8], warnings: &mut Vec<String>) -> Result<Option<Text>, String> {
        let words = parse_line(line).ok_or("Unbalanced quotes in configuration line")?;
        let Some((name, args)) = words.split_first() else {
            return Ok(None);
        };
        if let Some((name, row)) = Param::find(name) {
            return self.load_param(name, row, args, warnings).map(|()| None);
        }
        let Directives { rename_command, user, loadmodule } = &mut self.directives;
        match (name.to_ascii_lowercase().as_slice(), args) {
            (b"include", [path]) => return Ok(Some(path.clone())),
            (b"rename-command", [old, new]) => rename_command.push((old.clone(), new.clone())),
            (b"user", [_, ..]) => user.push(args.to_vec()),
            (b"loadmodule", [path, ..]) => {
                let path = String::from_utf8_lossy(path);
                warnings.push(format!("module '{path}' is not loaded: modules are not supported"));
                loadmodule.push(args.to_vec());
            }
            (b"sentinel", []) => {} // the flag on the command line, see `Start::sentinel`
            (b"sentinel", _) => {
                return Err("sentinel directive while not in sentinel mode".to_string());
            }
            (old, [_]) if DEPRECATED.contains(&old) => {}
            _ => return Err("Bad directive or wrong number of arguments".to_string()),
        }
        Ok(None)
    }

    fn load_param(
        &mut self,
        name: &str,
        row: &'static Param,
        args: &[Text],
        warnings: &mut Vec<String>,
    ) -> Result<(), String> {
        let many = matches!(row.kind, Kind::Many);
        if !many && args.len() != 1 {
            return Err("wrong number of arguments".to_string());
        }
        // The first `save` of all files replaces the default, further ones add to it.
        if row.name == "save" && !self.save_from_file {
            self.save_from_file = true;
            self.save.0.clear();
        }
        let split = match args {
            [only] if many && !only.is_empty() => parse_line(only).ok_or("Unbalanced quotes in configuration line")?,
            _ => args.to_vec(),
        };
        let args: Vec<&[u8]> = split.iter().map(Vec::as_slice).collect();
        (row.field_mut)(self).assign(&row.kind, &args).map_err(|reason| reason.into_owned())?;
        self.clamp();
        if row.acts == Acts::Nobody && row.show(self) != row.show_default() {
            warnings.push(format!("'{name}' is accepted but has no effect"));
        }
        Ok(())
    }
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// `-v`, `--version`: print the version.
    Version,
    /// `-h`, `--help`: print the usage.
    Help,
    /// `--test-memory <megabytes>`; `None` if the number is missing.
    TestMemory(Option<Text>),
    /// `--check-system`.
    CheckSystem,
    /// Start the server.
    Run(Start),
}

/// How to start the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Path of the configuration file.
    pub config_file: Option<Text>,
    /// `-`: read more of the configuration from standard input.
    pub config_from_stdin: bool,
    /// `--sentinel`: start as a sentinel.
    pub sentinel: bool,
    /// The options as lines of a configuration file.
    pub options: Text,
}

impl Start {
    /// The whole configuration as one text, in the order of precedence: the file's, that of
    /// standard input, the options. Line numbers in errors count through all of it.
    pub fn text(&self, file: &[u8], stdin: &[u8]) -> Text {
        let mut text = file.to_vec();
        if !stdin.is_empty() && !text.is_empty() && !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        text.extend(stdin);
        if !self.options.is_empty() {
            text.push(b'\n');
            text.extend(&self.options);
        }
        text
    }
}

impl Invocation {
    /// Reads the arguments of the process, without its own name.
    pub fn parse(args: &[Text]) -> Invocation {
        match args.first().map(Vec::as_slice) {
            Some(b"-v" | b"--version") => return Invocation::Version,
            Some(b"-h" | b"--help") => return Invocation::Help,
            Some(b"--test-memory") => {
                let megabytes = if args.len() == 2 { Some(args[1].clone()) } else { None };
                return Invocation::TestMemory(megabytes);
            }
            Some(b"--check-system") => return Invocation::CheckSystem,
            _ => {}
        }
        let mut start = Start::default();
        let mut rest = args;
        if let [file, options @ ..] = args
            && !file.starts_with(b"-")
        {
            start.config_file = Some(file.clone());
            rest = options;
        }
        start.sentinel = args.iter().any(|arg| arg == b"--sentinel");
        start.read_options(rest);
        Invocation::Run(start)
    }
}

fn is_option(arg: &[u8]) -> bool {
    arg.starts_with(b"--")
}

impl Start {
    /// Turns `--name value…` into lines. An argument that starts with `--` is a name only if the
    /// name before it has its value.
    fn read_options(&mut self, args: &[Text]) {
        let mut has_value = true;
        for (at, arg) in args.iter().enumerate() {
            let first = at == 0 && self.config_file.is_none();
            let next = args.get(at + 1);
            if arg == b"-" && (first || next.is_none()) {
                self.config_from_stdin = true;
            } else if has_value && is_option(arg) {
                if !self.options.is_empty() {
                    self.options.push(b'\n');
                }
                self.options.extend(&arg[2..]);
                self.options.push(b' ');
                has_value = parse_line(arg).is_none_or(|words| words.len() != 1);
                // These two may stand without a value.
                let alone = next.is_none_or(|next| is_option(next));
                if alone && arg.eq_ignore_ascii_case(b"--save") {
                    self.options.extend(b"\"\"");
                    has_value = true;
                } else if alone && arg.eq_ignore_ascii_case(b"--sentinel") {
                    has_value = true;
                }
            } else {
                self.options.extend(quote(arg));
                self.options.push(b' ');
                has_value = true;
            }
        }
    }
}
