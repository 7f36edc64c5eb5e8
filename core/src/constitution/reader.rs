//! Typed access to a spanned TOML tree that collects every error instead of stopping at the first.

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Located, nearest, parent, path_key, quoted};

/// What is said of a key that is not there.
pub(super) const MISSING: &str = "must be given";

/// Collects errors and remembers where each path lies in the text.
#[derive(Default)]
pub(super) struct Reader {
    found: Vec<Located>,
    /// Byte offset of the value (for a table: of its header or key) at each path that was read.
    offsets: BTreeMap<String, usize>,
    /// Paths whose value could not be read; the model holds a placeholder there.
    broken: BTreeSet<String>,
}

/// A table of the document, or its absence.
#[derive(Clone)]
pub(super) struct Section<'a, 't> {
    path: String,
    entries: Option<&'a DeTable<'t>>,
}

impl<'a, 't> Section<'a, 't> {
    /// The whole document.
    pub(super) fn root(entries: &'a DeTable<'t>) -> Self {
        Self {
            path: String::new(),
            entries: Some(entries),
        }
    }

    /// The path of `key` in this table.
    pub(super) fn path_of(&self, key: &str) -> String {
        let key = path_key(key);
        if self.path.is_empty() {
            key
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// The table's keys, in order of their bytes.
    pub(super) fn keys(&self) -> Vec<&'a str> {
        self.entries.map_or_else(Vec::new, |entries| {
            entries.keys().map(|key| key.get_ref().as_ref()).collect()
        })
    }
}

impl Reader {
    /// Reports an error that has a place, but no path: of syntax, or of the whole file.
    pub(super) fn report_at(&mut self, offset: usize, message: String) {
        let path = String::new();
        self.found.push(Located {
            offset,
            path,
            message,
        });
    }

    /// Reports that what lies at `path` does not hold, at its place or at that of the nearest table.
    pub(super) fn report(&mut self, path: &str, message: impl Into<String>) {
        let mut place = path;
        let offset = loop {
            match (self.offsets.get(place), parent(place)) {
                (Some(offset), _) => break *offset,
                (None, Some(up)) => place = up,
                (None, None) => break 0,
            }
        };
        self.found.push(Located {
            offset,
            path: path.to_owned(),
            message: message.into(),
        });
    }

    /// Reports a value that cannot be read.
    pub(super) fn report_broken(&mut self, path: &str, message: impl Into<String>) {
        self.report(path, message);
        self.broken.insert(path.to_owned());
    }

    /// Whether the value at `path`, or a table that it is in, could not be read.
    pub(super) fn is_broken(&self, path: &str) -> bool {
        let mut place = Some(path);
        while let Some(at) = place {
            if self.broken.contains(at) {
                return true;
            }
            place = parent(at);
        }
        false
    }

    /// The paths whose value could not be read.
    pub(super) fn broken(&self) -> &BTreeSet<String> {
        &self.broken
    }

    /// Every error so far.
    pub(super) fn into_errors(self) -> Vec<Located> {
        self.found
    }

    /// Drops the errors for which `keep` is false.
    pub(super) fn retain(&mut self, keep: impl FnMut(&Located) -> bool) {
        self.found.retain(keep);
    }

    /// Reports every key of `section` that is not `known`.
    pub(super) fn check_keys(&mut self, section: &Section<'_, '_>, known: &[&str]) {
        let Some(entries) = section.entries else {
            return;
        };
        for key in entries.keys() {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            let hint = nearest(&snake_case(name), known).map_or_else(
                || format!("known here: {}", known.join(", ")),
                |near| format!("did you mean {near}?"),
            );
            self.found.push(Located {
                offset: key.span().start,
                path: section.path_of(name),
                message: format!("must be a known key; {hint}"),
            });
        }
    }

    /// The value of `key`; its place is remembered.
    fn value<'a, 't>(
        &mut self,
        section: &Section<'a, 't>,
        key: &str,
    ) -> Option<(String, &'a DeValue<'t>)> {
        let (found, value) = section.entries?.get_key_value(key)?;
        let path = section.path_of(key);
        // The span of a table is its header or, for a table made by dotted keys, empty: its key is
        // what a reader looks for.
        let offset = match value.get_ref() {
            DeValue::Table(_) => found.span().start,
            _ => value.span().start,
        };
        self.offsets.insert(path.clone(), offset);
        Some((path, value.get_ref()))
    }

    fn report_type(&mut self, path: &str, wanted: &str, value: &DeValue<'_>) {
        self.report_broken(path, format!("must be {wanted}, not {}", kind_of(value)));
    }

    /// The table `key`, with only `known` keys.
    pub(super) fn section<'a, 't>(
        &mut self,
        section: &Section<'a, 't>,
        key: &str,
        known: &[&str],
    ) -> Section<'a, 't> {
        let section = self.open_section(section, key);
        self.check_keys(&section, known);
        section
    }

    /// The table `key`, with any keys.
    pub(super) fn open_section<'a, 't>(
        &mut self,
        section: &Section<'a, 't>,
        key: &str,
    ) -> Section<'a, 't> {
        let entries = match self.value(section, key) {
            Some((_, DeValue::Table(entries))) => Some(entries),
            Some((path, other)) => {
                self.report_type(&path, "a table", other);
                None
            }
            None => None,
        };
        Section {
            path: section.path_of(key),
            entries,
        }
    }

    /// What `key` is, if it is there: a text, or a table.
    pub(super) fn text_or_table<'a, 't>(
        &mut self,
        section: &Section<'a, 't>,
        key: &str,
    ) -> Option<TextOrTable<'a, 't>> {
        match self.value(section, key)? {
            (_, DeValue::String(text)) => Some(TextOrTable::Text(text)),
            (path, DeValue::Table(entries)) => Some(TextOrTable::Table(Section {
                path,
                entries: Some(entries),
            })),
            (path, other) => {
                self.report_type(&path, "a string or a table", other);
                None
            }
        }
    }

    /// The array of tables `key`, each with only `known` keys.
    pub(super) fn tables<'a, 't>(
        &mut self,
        section: &Section<'a, 't>,
        key: &str,
        known: &[&str],
    ) -> Vec<Section<'a, 't>> {
        let mut tables = Vec::new();
        for (path, value) in self.elements(section, key, "an array of tables") {
            let entries = match value.get_ref() {
                DeValue::Table(entries) => Some(entries),
                other => {
                    self.report_type(&path, "a table", other);
                    None
                }
            };
            let table = Section { path, entries };
            self.check_keys(&table, known);
            tables.push(table);
        }
        tables
    }

    /// The array of strings `key`; a placeholder stands for each element that is none.
    pub(super) fn strings(&mut self, section: &Section<'_, '_>, key: &str) -> Vec<String> {
        let mut strings = Vec::new();
        for (path, value) in self.elements(section, key, "an array of strings") {
            let text = value.get_ref().as_str();
            if text.is_none() {
                self.report_type(&path, "a string", value.get_ref());
            }
            strings.push(text.unwrap_or_default().to_owned());
        }
        strings
    }

    fn elements<'a, 't>(
        &mut self,
        section: &Section<'a, 't>,
        key: &str,
        wanted: &str,
    ) -> Vec<(String, &'a Spanned<DeValue<'t>>)> {
        match self.value(section, key) {
            Some((path, DeValue::Array(array))) => {
                let mut elements = Vec::with_capacity(array.len());
                for (index, value) in array.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    self.offsets.insert(path.clone(), value.span().start);
                    elements.push((path, value));
                }
                elements
            }
            Some((path, other)) => {
                self.report_type(&path, wanted, other);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// The string `key`, if it is there.
    pub(super) fn string(&mut self, section: &Section<'_, '_>, key: &str) -> Option<String> {
        let (path, value) = self.value(section, key)?;
        let text = value.as_str();
        if text.is_none() {
            self.report_type(&path, "a string", value);
        }
        text.map(str::to_owned)
    }

    /// The string `key`, which must be there; a placeholder if it is not.
    pub(super) fn required_string(&mut self, section: &Section<'_, '_>, key: &str) -> String {
        let text = self.string(section, key);
        self.require(section, key, text.is_some());
        text.unwrap_or_default()
    }

    /// Reports `key` as missing unless it is `present` or was reported already.
    pub(super) fn require(&mut self, section: &Section<'_, '_>, key: &str, present: bool) {
        let path = section.path_of(key);
        if !present && !self.is_broken(&path) {
            self.report_broken(&path, MISSING);
        }
    }

    /// The boolean `key`, or `default`.
    pub(super) fn boolean(&mut self, section: &Section<'_, '_>, key: &str, default: bool) -> bool {
        match self.value(section, key) {
            Some((_, DeValue::Boolean(value))) => *value,
            Some((path, other)) => {
                self.report_type(&path, "true or false", other);
                default
            }
            None => default,
        }
    }

    /// The integer `key`, if it is there.
    ///
    /// One that is no `u32` becomes `u32::MAX`, which is above the upper bound of every field.
    pub(super) fn integer(&mut self, section: &Section<'_, '_>, key: &str) -> Option<u32> {
        match self.value(section, key)? {
            (_, DeValue::Integer(integer)) => {
                let value = u32::from_str_radix(integer.as_str(), integer.radix());
                Some(value.unwrap_or(u32::MAX))
            }
            (path, other) => {
                self.report_type(&path, "an integer", other);
                None
            }
        }
    }

    /// The TCP port `key`, if it is there. What is none becomes 0, which every rule refuses.
    pub(super) fn port(&mut self, section: &Section<'_, '_>, key: &str) -> Option<u16> {
        let port = self.integer(section, key)?;
        Some(u16::try_from(port).unwrap_or(0))
    }

    /// The decimal `key` as it is written in the file, never by way of a float.
    pub(super) fn decimal<T>(&mut self, section: &Section<'_, '_>, key: &str) -> Option<T>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        let (path, value) = self.value(section, key)?;
        let parsed = match value {
            DeValue::String(text) => text.parse(),
            // Underscores between digits are gone, everything else is the source text.
            DeValue::Float(float) => float.as_str().parse(),
            DeValue::Integer(integer) => integer.to_string().parse(),
            other => {
                self.report_type(&path, "a decimal such as 0.75", other);
                return None;
            }
        };
        parsed
            .map_err(|error: T::Err| self.report_broken(&path, error.to_string()))
            .ok()
    }

    /// The one of `names` that `key` names, if it is there.
    pub(super) fn one_of<T: Copy>(
        &mut self,
        section: &Section<'_, '_>,
        key: &str,
        names: &[(&str, T)],
    ) -> Option<T> {
        let text = self.string(section, key)?;
        self.name(&section.path_of(key), &text, names)
    }

    /// The one of `names` that `text` is.
    pub(super) fn name<T: Copy>(
        &mut self,
        path: &str,
        text: &str,
        names: &[(&str, T)],
    ) -> Option<T> {
        let known = names.iter().find(|(name, _)| *name == text);
        if known.is_none() {
            let all: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            let list = all.iter().map(|name| quoted(name)).collect::<Vec<_>>();
            let hint = nearest(text, &all).map_or_else(String::new, |near| {
                format!("; did you mean {}?", quoted(near))
            });
            let message = format!(
                "must be one of {}, not {}{hint}",
                list.join(", "),
                quoted(text)
            );
            self.report_broken(path, message);
        }
        known.map(|(_, value)| *value)
    }

    /// The one of `names` that `key` names, which must be there.
    pub(super) fn required_one_of<T: Copy>(
        &mut self,
        section: &Section<'_, '_>,
        key: &str,
        names: &[(&str, T)],
    ) -> Option<T> {
        let value = self.one_of(section, key, names);
        self.require(section, key, value.is_some());
        value
    }

    /// The list `key` of some of `names`, if it is there.
    pub(super) fn names<T: Copy>(
        &mut self,
        section: &Section<'_, '_>,
        key: &str,
        names: &[(&str, T)],
    ) -> Option<Vec<T>> {
        let texts = self.strings(section, key);
        if !self.offsets.contains_key(&section.path_of(key)) {
            return None;
        }
        let path = section.path_of(key);
        let mut values = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if !self.is_broken(&path) {
                values.extend(self.name(&path, text, names));
            }
        }
        Some(values)
    }
}

/// A value that may be written in two forms.
pub(super) enum TextOrTable<'a, 't> {
    Text(&'a str),
    Table(Section<'a, 't>),
}

/// `maxBranches`, as objects in a cluster have it, is `max_branches` here.
fn snake_case(key: &str) -> String {
    let mut snake = String::with_capacity(key.len() + 4);
    for (index, letter) in key.char_indices() {
        if letter.is_ascii_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
