//! Descriptions made from option structs, by their JSON schema.
//!
//! A field's doc comment is its help (the first paragraph) and details (the others); `#[schemars(range(…))]` its range; `extend("x-group" = …)` and
//! `extend("x-unit" = …)` say where it belongs and what it counts; `"x-aliases" = […]` other names that are read and never written; on a table by whole numbers,
//! `"x-largest-key" = …` their largest. Default and published value come from the structs themselves.

use std::borrow::Cow;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Bounds, Choice, Group, Kind, Setting};

/// Every option of `T` as the options of `method`, in the struct's order; `published` has their values in the method's publication.
///
/// An option without doc comment or group, or of a type that no [`Kind`] stands for, is left out; a test of the methods finds it.
pub(crate) fn described<T: JsonSchema + Serialize + Default>(method: &'static str, published: &Value) -> Vec<Setting> {
    let generator = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).into_generator();
    let schema = generator.into_root_schema_for::<T>();
    let defaults = serde_json::to_value(T::default()).unwrap_or_default();
    let setting = |(name, schema): (&String, &Value)| {
        let default = defaults.get(name)?;
        let published = published.get(name).filter(|published| *published != default);
        setting(name, schema, default, published).map(|setting| Setting { methods: vec![method.into()], ..setting })
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.into_iter().flatten().filter_map(setting).collect()
}

fn setting(name: &str, schema: &Value, default: &Value, published: Option<&Value>) -> Option<Setting> {
    let description = schema["description"].as_str()?.trim();
    let (help, details) = description.split_once("\n\n").unwrap_or((description, ""));
    Some(Setting {
        name: name.to_owned().into(),
        aliases: aliases(schema),
        kind: kind(schema)?,
        nullable: is_nullable(schema),
        default: default.clone(),
        published: published.cloned(),
        unit: schema["x-unit"].as_str().map(|unit| unit.to_owned().into()),
        help: help.trim().to_owned().into(),
        details: details.trim().to_owned().into(),
        group: Group::deserialize(&schema["x-group"]).ok()?,
        methods: Vec::new(),
    })
}

/// Other names of an option, in the spelling of JSON.
fn aliases(schema: &Value) -> Vec<Cow<'static, str>> {
    let names = schema["x-aliases"].as_array().into_iter().flatten().filter_map(Value::as_str);
    names.map(|name| name.to_owned().into()).collect()
}

fn is_nullable(schema: &Value) -> bool {
    schema["type"].as_array().is_some_and(|types| types.iter().any(|of| of == "null"))
}

fn kind(schema: &Value) -> Option<Kind> {
    if let Some(words) = schema["oneOf"].as_array() {
        return words.iter().map(choice).collect::<Option<_>>().map(Kind::Choice);
    }
    let named = schema["type"].as_str().or_else(|| schema["type"].as_array()?.iter().find_map(Value::as_str));
    match named? {
        "boolean" => Some(Kind::Boolean),
        "integer" => {
            let end = |key: &str| schema[key].as_u64();
            Some(Kind::integer(end("minimum").unwrap_or(0), end("maximum").unwrap_or(u64::MAX)))
        }
        "number" => Some(Kind::Number(bounds(schema))),
        "string" => Some(Kind::Text),
        "array" => Some(Kind::List(Box::new(kind(&schema["items"])?))),
        "object" => table(schema),
        _ => None,
    }
}

/// A word of an enum: `{"const": "point", "description": …}`.
fn choice(schema: &Value) -> Option<Choice> {
    let help = schema["description"].as_str()?.replace('\n', " ");
    Some(Choice { value: schema["const"].as_str()?.to_owned().into(), help: help.into(), aliases: &[] })
}

fn bounds(schema: &Value) -> Bounds {
    let end = |key: &str| schema[key].as_f64();
    let (above, below) = (end("exclusiveMinimum"), end("exclusiveMaximum"));
    Bounds {
        min: above.or(end("minimum")),
        above_min: above.is_some(),
        max: below.or(end("maximum")),
        below_max: below.is_some(),
    }
}

/// A map: by any text, or by whole numbers, whose schema says so with a pattern.
fn table(schema: &Value) -> Option<Kind> {
    let by_number = schema["patternProperties"].as_object().and_then(|patterns| patterns.values().next());
    let (keys, values) = match by_number {
        Some(values) => (Kind::integer(0, schema["x-largest-key"].as_u64().unwrap_or(u64::MAX)), values),
        None => (Kind::Text, schema.get("additionalProperties")?),
    };
    Some(Kind::Table { keys: Box::new(keys), values: Box::new(kind(values)?) })
}
