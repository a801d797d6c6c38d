// SPDX-License-Identifier: GPL-2.0

//! Where files come from: a file system, or a record of one.
//!
//! Devices come and go while files are read, so any file may be absent at any time. Paths have no
//! slash at the beginning: `sys/class/iommu`.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt::Write,
    fs,
    io::{self, Read},
    path::PathBuf,
};

/// Why a file has no content.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Miss {
    /// It is not there, or is gone.
    Absent,
    /// Its reader lacks the permission.
    Denied,
}

/// A tree of files.
pub trait Files {
    /// The content of a file.
    fn read(&self, path: &str) -> Result<Vec<u8>, Miss>;

    /// What a symbolic link has in it.
    fn link(&self, path: &str) -> Option<String>;

    /// The names in a folder, sorted.
    fn list(&self, path: &str) -> Vec<String>;

    /// The text of a file without white space at its end; bytes that are no UTF-8 are replaced.
    fn text(&self, path: &str) -> Result<String, Miss> {
        let bytes = self.read(path)?;
        Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    }

    /// The text of a file, or nothing.
    fn maybe(&self, path: &str) -> Option<String> {
        self.text(path).ok()
    }

    /// The path that a symbolic link leads to.
    fn follow(&self, path: &str) -> Option<String> {
        let target = self.link(path)?;
        let mut parts: Vec<&str> = match target.starts_with('/') {
            true => Vec::new(),
            false => path.split('/').collect(),
        };
        parts.pop();
        for part in target.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop();
                }
                _ => parts.push(part),
            }
        }
        Some(parts.join("/"))
    }

    /// The last part of what a symbolic link leads to.
    fn link_name(&self, path: &str) -> Option<String> {
        let target = self.link(path)?;
        target.rsplit('/').next().map(str::to_owned)
    }
}

/// The files below a folder of a file system.
pub struct Disk(PathBuf);

/// No file that is read here is larger than this.
const LARGEST: u64 = 1 << 16;

impl Disk {
    /// The files below `root`.
    pub fn new(root: PathBuf) -> Self {
        Self(root)
    }
}

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, Miss> {
        let miss = |error: io::Error| match error.kind() {
            io::ErrorKind::PermissionDenied => Miss::Denied,
            _ => Miss::Absent,
        };
        let file = fs::File::open(self.0.join(path)).map_err(miss)?;
        let mut content = Vec::new();
        file.take(LARGEST).read_to_end(&mut content).map_err(miss)?;
        Ok(content)
    }

    fn link(&self, path: &str) -> Option<String> {
        let target = fs::read_link(self.0.join(path)).ok()?;
        target.to_str().map(str::to_owned)
    }

    fn list(&self, path: &str) -> Vec<String> {
        let Ok(folder) = fs::read_dir(self.0.join(path)) else {
            return Vec::new();
        };
        let names = folder.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

/// Something in a record.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Entry {
    File(Vec<u8>),
    Denied,
    Link(String),
    Folder(Vec<String>),
}

/// A record of files: a text with a line for each.
///
/// | line | what |
/// |---|---|
/// | `F`, path, content | a file with text; `\n`, `\t` and `\\` stand for these characters |
/// | `X`, path, content | a file with other bytes, in hexadecimal digits, without zeroes at the end |
/// | `N`, path | a file that its reader must not read |
/// | `L`, path, target | a symbolic link |
/// | `D`, path, names | a folder; names of what is in it |
///
/// Tabs are between the parts. Lines that begin with `#` and empty lines mean nothing.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Record(BTreeMap<String, Entry>);

const FIRST_LINE: &str = "# lsiommu record 1";

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    ///
    /// Which line is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.lines().next() != Some(FIRST_LINE) {
            return Err("no record of lsiommu".into());
        }
        let mut entries = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = || format!("line {}: not a line of a record", number + 1);
            let mut parts = line.split('\t');
            let (Some(kind), Some(path)) = (parts.next(), parts.next()) else {
                return Err(wrong());
            };
            let mut rest = parts;
            let mut one = || rest.next().unwrap_or("");
            let entry = match kind {
                "F" => Entry::File(unescape(one()).into_bytes()),
                "X" => Entry::File(from_hex(one()).ok_or_else(wrong)?),
                "N" => Entry::Denied,
                "L" => Entry::Link(unescape(one())),
                "D" => Entry::Folder(rest.map(unescape).collect()),
                _ => return Err(wrong()),
            };
            entries.insert(unescape(path), entry);
        }
        Ok(Self(entries))
    }

    /// The text of the record.
    pub fn text(&self) -> String {
        let mut text = format!("{FIRST_LINE}\n");
        for (path, entry) in &self.0 {
            let path = escape(path);
            // Writing to a string does not fail.
            let _ = match entry {
                Entry::Denied => writeln!(text, "N\t{path}"),
                Entry::Link(target) => writeln!(text, "L\t{path}\t{}", escape(target)),
                Entry::Folder(names) => {
                    let names: Vec<String> = names.iter().map(|name| escape(name)).collect();
                    match names.is_empty() {
                        true => writeln!(text, "D\t{path}"),
                        false => writeln!(text, "D\t{path}\t{}", names.join("\t")),
                    }
                }
                Entry::File(content) => match std::str::from_utf8(content) {
                    Ok(content) if !content.contains('\0') => {
                        writeln!(text, "F\t{path}\t{}", escape(content))
                    }
                    _ => writeln!(text, "X\t{path}\t{}", to_hex(content)),
                },
            };
        }
        text
    }

    /// The record without some of its lines: as if these files were gone.
    pub fn without(&self, mut is_gone: impl FnMut(&str) -> bool) -> Self {
        let kept = self.0.iter().filter(|(path, _)| !is_gone(path));
        Self(
            kept.map(|(path, entry)| (path.clone(), entry.clone()))
                .collect(),
        )
    }

    /// The record with another content of a file.
    pub fn with(mut self, path: &str, content: &[u8]) -> Self {
        self.0.insert(path.into(), Entry::File(content.into()));
        self
    }

    /// The record with a symbolic link.
    pub fn with_link(mut self, path: &str, target: &str) -> Self {
        self.0.insert(path.into(), Entry::Link(target.into()));
        self
    }

    /// The paths in the record.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl Files for Record {
    fn read(&self, path: &str) -> Result<Vec<u8>, Miss> {
        match self.0.get(path) {
            Some(Entry::File(content)) => Ok(content.clone()),
            Some(Entry::Denied) => Err(Miss::Denied),
            _ => Err(Miss::Absent),
        }
    }

    fn link(&self, path: &str) -> Option<String> {
        match self.0.get(path) {
            Some(Entry::Link(target)) => Some(target.clone()),
            _ => None,
        }
    }

    fn list(&self, path: &str) -> Vec<String> {
        match self.0.get(path) {
            Some(Entry::Folder(names)) => names.clone(),
            _ => Vec::new(),
        }
    }
}

/// Files whose readers are watched.
pub struct Recorder<'a> {
    files: &'a dyn Files,
    seen: RefCell<Record>,
}

impl<'a> Recorder<'a> {
    /// Watches `files`.
    pub fn new(files: &'a dyn Files) -> Self {
        Self {
            files,
            seen: RefCell::default(),
        }
    }

    /// What was read so far, as a record.
    pub fn text(&self) -> String {
        self.seen.borrow().text()
    }

    fn note(&self, path: &str, entry: Entry) {
        self.seen.borrow_mut().0.insert(path.into(), entry);
    }
}

impl Files for Recorder<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, Miss> {
        let result = self.files.read(path);
        match &result {
            Ok(content) => self.note(path, Entry::File(content.clone())),
            Err(Miss::Denied) => self.note(path, Entry::Denied),
            Err(Miss::Absent) => {}
        }
        result
    }

    fn link(&self, path: &str) -> Option<String> {
        let target = self.files.link(path)?;
        self.note(path, Entry::Link(target.clone()));
        Some(target)
    }

    fn list(&self, path: &str) -> Vec<String> {
        let names = self.files.list(path);
        if !names.is_empty() {
            self.note(path, Entry::Folder(names.clone()));
        }
        names
    }
}

fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\\\");
    let text = text.replace('\n', "\\n").replace('\t', "\\t");
    text.replace('\r', "\\r")
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n') => plain.push('\n'),
                Some('t') => plain.push('\t'),
                Some('r') => plain.push('\r'),
                Some(other) => plain.push(other),
                None => {}
            },
            _ => plain.push(letter),
        }
    }
    plain
}

fn to_hex(bytes: &[u8]) -> String {
    let length = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let mut text = format!("{}:", bytes.len());
    for byte in &bytes[..length] {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (length, digits) = text.split_once(':')?;
    let length: usize = length.parse().ok()?;
    if length as u64 > LARGEST || digits.len() % 2 != 0 || !digits.is_ascii() {
        return None;
    }
    let pairs = (0..digits.len()).step_by(2);
    let bytes: Option<Vec<u8>> = pairs
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok())
        .collect();
    let mut bytes = bytes?;
    if bytes.len() > length {
        return None;
    }
    bytes.resize(length, 0);
    Some(bytes)
}
