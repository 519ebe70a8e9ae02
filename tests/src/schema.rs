//! A validator of the part of JSON Schema (2020-12) that the published schemas use, and no more: a keyword that it does not know is a
//! failure of the schema, never passed over. It is stricter than the schemas say in one thing: a field that they do not name is refused,
//! for here it is our own program that is looked at, and what it prints is to be documented.

use serde_json::{Map, Value};

/// Keywords that say something to people only.
const NOTES: [&str; 5] = ["$schema", "title", "description", "$defs", "format"];

/// A schema, with its definitions.
pub struct Schema {
    root: Value,
}

impl Schema {
    /// Takes a document, and looks whether all of it can be understood.
    pub fn new(root: Value) -> Self {
        let schema = Schema { root };
        schema.understood(&schema.root, "#");
        for (name, def) in schema.root["$defs"].as_object().into_iter().flatten() {
            schema.understood(def, &format!("#/$defs/{name}"));
        }
        schema
    }

    /// What is wrong with `value` as one of `$defs/name`; empty where nothing is.
    pub fn errors(&self, name: &str, value: &Value) -> Vec<String> {
        let mut errors = Vec::new();
        self.check(self.def(name), value, "", &mut errors);
        errors
    }

    /// The alternatives of `$defs/name`, by their names.
    pub fn alternatives(&self, name: &str) -> Vec<String> {
        let refs = self.def(name)["anyOf"].as_array().into_iter().flatten();
        refs.filter_map(|alternative| alternative["$ref"].as_str()?.strip_prefix("#/$defs/").map(str::to_owned)).collect()
    }

    fn def(&self, name: &str) -> &Value {
        self.root["$defs"].get(name).unwrap_or_else(|| panic!("no definition {name}"))
    }

    fn understood(&self, schema: &Value, at: &str) {
        if schema.is_boolean() {
            return;
        }
        let map = schema.as_object().unwrap_or_else(|| panic!("{at} is no schema"));
        for (key, value) in map {
            let inner = format!("{at}/{key}");
            match key.as_str() {
                "properties" => value.as_object().unwrap().iter().for_each(|(name, v)| self.understood(v, &format!("{inner}/{name}"))),
                "items" | "additionalProperties" => self.understood(value, &inner),
                "anyOf" => value.as_array().unwrap().iter().for_each(|v| self.understood(v, &inner)),
                "required" | "enum" => assert!(value.is_array(), "{inner}"),
                "type" => assert!(value.is_string() || value.is_array(), "{inner}"),
                "const" | "minimum" | "maximum" | "pattern" => {}
                "$ref" => drop(self.def(value.as_str().unwrap().strip_prefix("#/$defs/").unwrap_or_else(|| panic!("{inner}")))),
                note => assert!(NOTES.contains(&note), "{inner}: a keyword that is not known here"),
            }
        }
        let required = map.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required {
            let named = map.get("properties").is_some_and(|p| p.get(name.as_str().unwrap()).is_some());
            assert!(named, "{at}: {name} is required and not described");
        }
    }

    fn check(&self, schema: &Value, value: &Value, at: &str, errors: &mut Vec<String>) {
        let Some(schema) = schema.as_object() else {
            if *schema == Value::Bool(false) {
                errors.push(format!("{at}: nothing may stand here"));
            }
            return;
        };
        if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/$defs/")) {
            self.check(self.def(name), value, at, errors);
        }
        if let Some(alternatives) = schema.get("anyOf").and_then(Value::as_array) {
            let tried: Vec<Vec<String>> = alternatives
                .iter()
                .map(|alternative| {
                    let mut errors = Vec::new();
                    self.check(alternative, value, at, &mut errors);
                    errors
                })
                .collect();
            if tried.iter().all(|errors| !errors.is_empty()) {
                // Of those that it was not to be, the one that it is nearest to.
                let nearest = tried.into_iter().min_by_key(Vec::len).unwrap_or_default();
                errors.push(format!("{at}: none of the alternatives fits; the nearest: {}", nearest.join("; ")));
            }
        }
        let is = |name: &str| match name {
            "integer" => value.is_u64() || value.is_i64(),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            "null" => value.is_null(),
            other => panic!("no type {other}"),
        };
        let typed = match schema.get("type") {
            None => true,
            Some(Value::String(name)) => is(name),
            Some(names) => names.as_array().unwrap().iter().any(|name| is(name.as_str().unwrap())),
        };
        if !typed {
            errors.push(format!("{at}: {value} is no {}", schema["type"]));
        }
        if schema.get("const").is_some_and(|constant| constant != value) {
            errors.push(format!("{at}: {value} is not {}", schema["const"]));
        }
        if schema.get("enum").and_then(Value::as_array).is_some_and(|values| !values.contains(value)) {
            errors.push(format!("{at}: {value} is none of {}", schema["enum"]));
        }
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64).zip(value.as_f64());
        if bound("minimum").is_some_and(|(min, have)| have < min) || bound("maximum").is_some_and(|(max, have)| have > max) {
            errors.push(format!("{at}: {value} is out of bounds"));
        }
        if let (Some(pattern), Some(text)) = (schema.get("pattern").and_then(Value::as_str), value.as_str()) {
            // The only patterns that there are say how many hexadecimal digits.
            let digits = pattern.strip_prefix("^[0-9a-f]{").and_then(|rest| rest.strip_suffix("}$")).and_then(|n| n.parse::<usize>().ok());
            let digits = digits.unwrap_or_else(|| panic!("{at}: a pattern that is not known here: {pattern}"));
            if text.len() != digits || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
                errors.push(format!("{at}: {text} is not {digits} digits"));
            }
        }
        if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
            values.iter().enumerate().for_each(|(n, value)| self.check(items, value, &format!("{at}[{n}]"), errors));
        }
        if let Some(map) = value.as_object() {
            self.fields(schema, map, at, errors);
        }
    }

    fn fields(&self, schema: &Map<String, Value>, value: &Map<String, Value>, at: &str, errors: &mut Vec<String>) {
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !value.contains_key(name) {
                errors.push(format!("{at}: lacks `{name}`"));
            }
        }
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        for (name, field) in value {
            match (properties.get(name), schema.get("additionalProperties")) {
                (Some(property), _) => self.check(property, field, &format!("{at}.{name}"), errors),
                (None, Some(other)) => self.check(other, field, &format!("{at}.{name}"), errors),
                (None, None) => errors.push(format!("{at}: `{name}` is not described")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Schema {
        Schema::new(json!({"$defs": {
            "a": {"type": "object", "required": ["kind", "n"], "properties": {
                "kind": {"const": "a"}, "n": {"type": "integer", "minimum": 0}, "id": {"type": "string", "pattern": "^[0-9a-f]{4}$"},
                "list": {"type": "array", "items": {"$ref": "#/$defs/b"}},
            }},
            "b": {"type": ["string", "null"]},
            "any": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}]},
            "open": {"type": "object", "properties": {}, "additionalProperties": true},
        }}))
    }

    #[test]
    fn what_is_not_as_described_is_found() {
        let wrong = |name: &str, value: Value| schema().errors(name, &value).len();
        assert_eq!(wrong("a", json!({"kind": "a", "n": 1, "id": "00af", "list": ["x", null]})), 0);
        assert_eq!(wrong("any", json!("text")), 0);
        assert_eq!(wrong("open", json!({"x": 1})), 0);
        for value in [
            json!({"kind": "a"}),
            json!({"kind": "b", "n": 1}),
            json!({"kind": "a", "n": 1.5}),
            json!({"kind": "a", "n": -1}),
            json!({"kind": "a", "n": 1, "more": 1}),
            json!({"kind": "a", "n": 1, "id": "00AF"}),
            json!({"kind": "a", "n": 1, "list": [1]}),
            json!([]),
        ] {
            assert_ne!(wrong("a", value.clone()), 0, "{value}");
            assert_ne!(wrong("any", value.clone()), 0, "{value}");
        }
        assert_eq!(schema().alternatives("any"), ["a", "b"]);
    }

    #[test]
    #[should_panic(expected = "not known here")]
    fn a_keyword_that_is_not_known_is_not_passed_over() {
        Schema::new(json!({"$defs": {"a": {"minLength": 3}}}));
    }
}
