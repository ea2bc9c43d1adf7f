//! What people read about settings: the sample file, the reference, and what holds here and why.

use serde_json::{Value as Json, json};

use super::{
    kind::Shape,
    rules::{KEY as RULE, KEYS as RULE_KEYS, SAMPLE as RULE_SAMPLE},
    sources::Place,
    suggest,
    survey::{Survey, Value},
    table::{SECTIONS, Setting},
};

/// A configuration file with every setting, its default and its meaning, all commented out.
pub(crate) fn sample() -> String {
    let mut text = String::from(
        "# The configuration of Kerria. Every line shows a default: remove the # before a setting to change it.\n\
         # An environment variable such as KERRIA_LISTEN, or --set listen=…, counts more than this file.\n\
         # Durations are written like 90s, 15m, 2h, 7d or 1h30m.\n",
    );
    for section in SECTIONS {
        text.push_str(&format!("\n# ---- {} ----\n", section.title));
        if !section.name.is_empty() {
            text.push_str(&format!("[{}]\n", section.name));
        }
        for setting in section.settings {
            text.push('\n');
            for line in wrapped(&format!("{} ({})", setting.meaning, setting.kind.words()), 100) {
                text.push_str(&format!("# {line}\n"));
            }
            let value = setting.kind.toml(setting.default.unwrap_or(setting.example));
            text.push_str(&format!("#{} = {value}\n", setting.name()));
        }
        if section.name == "forward_auth" {
            text.push_str(
                "\n# Rules, in the order in which they are tried; the first that matches decides, as in\n",
            );
            RULE_SAMPLE.lines().for_each(|line| text.push_str(&format!("#     {line}\n")));
        }
    }
    text
}

/// The reference as Markdown, for `docs/configuration.md`.
pub(crate) fn markdown() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         <!-- Made by `kerria config explain --markdown`. Change the table in the code, not this page. -->\n\n\
         Nothing has to be configured to try Kerria out on one machine. What you set comes from, the later counting \
         more:\n\n\
         1. the defaults on this page;\n\
         2. one TOML file: `--config PATH`, else the one that `KERRIA_CONFIG` names, else `kerria.toml` in the current \
         folder if it exists;\n\
         3. environment variables;\n\
         4. the command line: `--set key=value`, and flags of their own such as `--listen`.\n\n\
         `kerria config sample` writes a file to start from, `kerria config check` finds every mistake at once, and \
         `kerria config explain` says what holds and where it comes from. Lists are written with commas in variables \
         and on the command line. Durations are whole numbers with units: `90s`, `15m`, `2h`, `7d`, `1h30m`.\n",
    );
    for section in SECTIONS {
        text.push_str(&format!("\n## {}\n", section.title));
        if !section.name.is_empty() {
            text.push_str(&format!("\nIn the file under `[{}]`.\n", section.name));
        }
        for setting in section.settings {
            text.push_str(&format!("\n### `{}`\n\n{}\n\n", setting.key, setting.meaning));
            text.push_str(&format!("- Value: {}\n", setting.kind.words()));
            text.push_str(&format!("- Default: {}\n", default_of(setting, |toml| format!("`{toml}`"))));
            text.push_str(&format!(
                "- Example: `{} = {}`\n",
                setting.name(),
                setting.kind.toml(setting.example)
            ));
            text.push_str(&format!("- Variable: `{}`\n", setting.variable()));
        }
        if section.name == "forward_auth" {
            text.push_str(&rules_in_markdown());
        }
    }
    text
}

fn rules_in_markdown() -> String {
    let mut text = format!(
        "\n### `[[forward_auth.rule]]`\n\nWhich requests a reverse proxy may let through, and for whom. Rules stand in the \
         file only. The first that matches a request decides; a request that none matches is refused. `kerria rules test` says \
         which one decides and why, and [forward-auth](forward-auth.md) shows them with proxies.\n\n```toml\n{RULE_SAMPLE}```\n\n"
    );
    for (key, example, meaning) in RULE_KEYS {
        text.push_str(&format!("- `{key} = {example}`: {meaning}\n"));
    }
    text
}

/// One setting in detail, or all of a section.
///
/// # Errors
/// A guess what was meant, if there is no such setting.
pub(crate) fn explain(survey: &Survey, key: &str) -> Result<String, String> {
    if key == RULE {
        return Ok(explain_rules());
    }
    let told: Vec<_> = chosen(survey, Some(key))?.into_iter().map(detail).collect();
    Ok(told.join("\n"))
}

fn explain_rules() -> String {
    let mut text = format!("{RULE}\n    A rule, as in\n\n");
    RULE_SAMPLE.lines().for_each(|line| text.push_str(&format!("        {line}\n")));
    for (key, example, meaning) in RULE_KEYS {
        text.push_str(&format!("\n    {key} = {example}\n"));
        wrapped(meaning, 88).iter().for_each(|line| text.push_str(&format!("        {line}\n")));
    }
    text
}

/// The rules of forward-auth, in order: which, what, and where it is written.
pub(crate) fn rules(survey: &Survey) -> Vec<[String; 3]> {
    let rules = survey.draft().forward_auth.rules.0.iter().zip(1..);
    rules.map(|(rule, number): (_, u32)| [number.to_string(), rule.to_string(), rule.place.clone()]).collect()
}

/// The rows of an overview: the key, its value as TOML writes it, where that comes from, and the meaning in short.
pub(crate) fn overview(survey: &Survey) -> impl Iterator<Item = (&'static str, Vec<[String; 4]>)> {
    let mut values = survey.values().iter();
    SECTIONS.iter().map(move |section| {
        let rows = values.by_ref().take(section.settings.len()).map(|value| {
            [
                value.setting.key.to_owned(),
                shown(value),
                value.place.to_string(),
                value.setting.summary().to_owned(),
            ]
        });
        (section.title, rows.collect())
    })
}

/// Everything about all settings, or about one or a section of them.
///
/// # Errors
/// A guess what was meant, if there is no such setting.
pub(crate) fn json(survey: &Survey, key: Option<&str>) -> Result<Json, String> {
    let settings = chosen(survey, key)?.into_iter().map(|value| {
        let Setting { key, default, kind, example, meaning } = value.setting;
        json!({
            "key": key,
            "value": if kind.is_secret() { Json::Null } else { json_of(value.setting, &value.text) },
            "set": value.place != Place::Default,
            "source": value.place.word(),
            "place": value.place.to_string(),
            "default": default.map(|text| json_of(value.setting, text)),
            "accepts": kind.words(),
            "example": example,
            "variable": value.setting.variable(),
            "meaning": meaning,
        })
    });
    Ok(json!({ "file": survey.file, "settings": settings.collect::<Vec<_>>() }))
}

fn chosen<'a>(survey: &'a Survey, key: Option<&str>) -> Result<Vec<&'a Value>, String> {
    let is_chosen = |value: &&Value| match key {
        None => true,
        Some(key) => {
            value.setting.key == key || value.setting.key.split_once('.').is_some_and(|(s, _)| s == key)
        }
    };
    let values: Vec<_> = survey.values().iter().filter(is_chosen).collect();
    match key {
        Some(key) if values.is_empty() => Err(format!("there is no setting {key}; {}", suggest::key(key))),
        _ => Ok(values),
    }
}

fn detail(value: &Value) -> String {
    let setting = value.setting;
    let mut text = format!("{}\n", setting.key);
    for line in wrapped(setting.meaning, 92) {
        text.push_str(&format!("    {line}\n"));
    }
    let place = match &value.place {
        Place::Default => "the default".to_owned(),
        Place::File { .. } => format!("from the file, {}", value.place),
        Place::Variable(name) => format!("from the variable {name}"),
        Place::Flag(flag) => format!("from the flag {flag}"),
    };
    let held = shown(value);
    text.push_str(&format!("\n    now       {held}  ({place})\n"));
    text.push_str(&format!("    default   {}\n", default_of(setting, ToOwned::to_owned)));
    text.push_str(&format!("    accepts   {}\n", setting.kind.words()));
    text.push_str(&format!("    file      {}\n", in_file(setting)));
    text.push_str(&format!("    variable  {}={}\n", setting.variable(), quoted(setting.example)));
    if !setting.kind.is_secret() {
        text.push_str(&format!("    flag      --set {}={}\n", setting.key, quoted(setting.example)));
    }
    text
}

fn in_file(setting: &Setting) -> String {
    let line = format!("{} = {}", setting.name(), setting.kind.toml(setting.example));
    match setting.key.split_once('.') {
        Some((section, _)) => format!("[{section}]  {line}"),
        None => line,
    }
}

fn default_of(setting: &Setting, write: impl Fn(&str) -> String) -> String {
    match setting.default {
        None => "not set".to_owned(),
        Some(default) => write(&setting.kind.toml(default)),
    }
}

/// The value as TOML writes it, if there is one and it may be shown.
fn shown(value: &Value) -> String {
    match &*value.text {
        "(set)" if value.setting.kind.is_secret() => "(set)".to_owned(),
        "" if value.setting.default.is_none() => "(not set)".to_owned(),
        text => value.setting.kind.toml(text),
    }
}

fn json_of(setting: &Setting, text: &str) -> Json {
    match setting.kind.shape() {
        // What could not be read is shown as it was written.
        Shape::Integer | Shape::Boolean => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        Shape::Array => text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect(),
        Shape::String if text.is_empty() => Json::Null,
        Shape::String => text.into(),
    }
}

/// As a shell takes it.
fn quoted(text: &str) -> String {
    if text.contains(' ') { format!("'{text}'") } else { text.to_owned() }
}

/// `text` in lines of at most `width` characters.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
