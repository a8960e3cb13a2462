//! Rows of lists from which users choose by name: criteria, calibrators, targets, families.
use thiserror::Error;

/// A row of a list. [`crate::choices!`] implements it, so that options hold `&'static` rows instead of names.
pub trait Named: Sized + 'static {
    /// What a row is, for messages.
    const KIND: &'static str;
    /// All rows.
    const LIST: &'static [&'static Self];

    /// The name by which it is chosen.
    fn name(&self) -> &'static str;
}

/// A name that no row of a list has.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown {kind} `{found}`: expected one of {expected}")]
pub struct UnknownName {
    /// What was chosen.
    pub kind: &'static str,
    /// The name.
    pub found: String,
    /// The names that there are.
    pub expected: String,
}

/// The row of that name.
///
/// # Errors
/// When there is none, with the names that there are.
pub fn named<T: Named>(name: &str) -> Result<&'static T, UnknownName> {
    let found = T::LIST.iter().find(|row| row.name() == name).copied();
    found.ok_or_else(|| UnknownName {
        kind: T::KIND,
        found: name.to_owned(),
        expected: T::LIST.iter().map(|row| row.name()).collect::<Vec<_>>().join(", "),
    })
}

/// Makes the rows of a list known by the field `name`: to [`named`], and to serde, which writes and reads a row as its name.
/// Rows are equal when their names are.
#[macro_export]
macro_rules! choices {
    ($row:ty, $kind:literal, $list:expr) => {
        impl $crate::Named for $row {
            const KIND: &'static str = $kind;
            const LIST: &'static [&'static Self] = $list;

            fn name(&self) -> &'static str {
                self.name
            }
        }

        impl PartialEq for $row {
            fn eq(&self, other: &Self) -> bool {
                self.name == other.name
            }
        }

        impl Eq for $row {}

        impl ::serde::Serialize for $row {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for &'static $row {
            fn deserialize<D: ::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Self, D::Error> {
                let name = <String as ::serde::Deserialize>::deserialize(deserializer)?;
                $crate::named(&name).map_err(::serde::de::Error::custom)
            }
        }
    };
}
