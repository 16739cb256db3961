/// One AMF0 value (section 2).
///
/// Dropping, cloning and comparing a value recurses into it. What the decoder returns is at most
/// [`MAX_DEPTH`](super::MAX_DEPTH) deep; whoever builds values by hand keeps to the like.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A double (section 2.2). AMF3 integers arrive as this, too.
    Number(f64),
    /// Any byte but 0 is true (section 2.3).
    Boolean(bool),
    /// A string or a long string (sections 2.4 and 2.14): which of the two is a matter of the
    /// length on the wire alone.
    String(String),
    /// An anonymous object (section 2.5).
    Object(Object),
    /// Section 2.7.
    Null,
    /// Section 2.8.
    Undefined,
    /// A reference to the n-th object of the same message (section 2.9).
    ///
    /// It stays unresolved on purpose: an object that refers twice to one that refers twice to
    /// another… is a few bytes on the wire and exponential in memory. No RTMP client is known to
    /// send one.
    Reference(u16),
    /// An associative array (section 2.10); in practice an object under another marker.
    EcmaArray(Object),
    /// An array of values (section 2.12).
    StrictArray(Vec<Value>),
    /// A point in time (section 2.13).
    Date {
        /// Milliseconds since 1970-01-01 00:00 UTC.
        millis: f64,
        /// Reserved, should be 0. Those that fill it put minutes from UTC there.
        time_zone: i16,
    },
    /// Something that the sender could not express (section 2.15). Also stands for what the AMF3
    /// decoder passes over.
    Unsupported,
    /// The text of an XML document (section 2.17).
    Xml(String),
    /// An object with a class name (section 2.18).
    TypedObject {
        /// The name under which the application registered the class.
        class: String,
        /// Its properties.
        object: Object,
    },
}

impl Value {
    /// The text of a [`String`](Value::String).
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number of a [`Number`](Value::Number).
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The truth of a [`Boolean`](Value::Boolean).
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Boolean(boolean) => Some(*boolean),
            _ => None,
        }
    }

    /// The properties of anything that has some: encoders do not agree on whether metadata and
    /// capability maps are objects or ECMA arrays.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Value::Object(object)
            | Value::EcmaArray(object)
            | Value::TypedObject { object, .. } => Some(object),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::String(text)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Number(number)
    }
}

impl From<bool> for Value {
    fn from(boolean: bool) -> Self {
        Value::Boolean(boolean)
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Value::Object(object)
    }
}

/// Named values in the order of the wire.
///
/// A list and not a map: the order is worth keeping, and with the handful of properties that
/// there are, a search is as fast. A name that the peer sends twice is kept twice; the later one
/// counts, as if the properties had been assigned one after the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object(Vec<(String, Value)>);

impl Object {
    /// An object without properties.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of the property `name`. Names are case-sensitive.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let (_, value) = self.0.iter().rfind(|(key, _)| key == name)?;
        Some(value)
    }

    /// Sets the property `name`, in its place if it is there already, else at the end.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        let (name, value) = (name.into(), value.into());
        match self.0.iter_mut().rfind(|(key, _)| *key == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// Appends without a look at the names that are there, so that a peer cannot make decoding
    /// quadratic.
    pub(super) fn push(&mut self, name: String, value: Value) {
        self.0.push((name, value));
    }

    /// The properties in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> + DoubleEndedIterator {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The number of properties.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no properties.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Object {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(properties: I) -> Self {
        let properties = properties.into_iter();
        Object(
            properties
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insert_replaces_in_place() {
        let mut object = Object::new();
        object.insert("a", 1.0);
        object.insert("b", true);
        object.insert("a", "one");
        let names: Vec<_> = object.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(object.get("a").and_then(Value::as_str), Some("one"));
        assert_eq!(object.get("A"), None);
    }

    #[test]
    fn the_later_of_two_equal_names_counts() {
        let mut object: Object = [("a", 1.0), ("b", 2.0), ("a", 3.0)].into_iter().collect();
        assert_eq!(object.len(), 3);
        assert_eq!(object.get("a").and_then(Value::as_number), Some(3.0));
        object.insert("a", 4.0);
        assert_eq!(object.len(), 3);
        assert_eq!(object.get("a").and_then(Value::as_number), Some(4.0));
    }
}
