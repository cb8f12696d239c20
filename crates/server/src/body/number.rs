//! Whole numbers in bodies. To JSON `5` and `5.0` are one number, and some clients only know how to write the latter.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// The least float that no `u64` holds: 2⁶⁴.
const END: f64 = 18_446_744_073_709_551_616.0;

/// For a whole number that is not negative.
pub(crate) fn whole<'de, D: Deserializer<'de>, T: TryFrom<u64>>(json: D) -> Result<T, D::Error> {
    Whole::deserialize(json).map(|Whole(number)| number)
}

/// The same where it may be left out, or null.
pub(crate) fn whole_given<'de, D: Deserializer<'de>, T: TryFrom<u64>>(
    json: D,
) -> Result<Option<T>, D::Error> {
    Option::<Whole<T>>::deserialize(json).map(|given| given.map(|Whole(number)| number))
}

struct Whole<T>(T);

impl<'de, T: TryFrom<u64>> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_u64(Reads(PhantomData)).map(Self)
    }
}

struct Reads<T>(PhantomData<T>);

impl<T: TryFrom<u64>> Visitor<'_> for Reads<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number of at most {} bits", size_of::<T>() * 8)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        T::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        let whole = u64::try_from(number);
        whole
            .map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
            .and_then(|it| self.visit_u64(it))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        if number.fract() == 0.0 && (0.0..END).contains(&number) {
            return self.visit_u64(number as u64);
        }
        Err(E::invalid_value(Unexpected::Float(number), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_is_five_however_it_is_written() {
        let read = |text: &str| serde_json::from_str::<Whole<u32>>(text).map(|Whole(number)| number).ok();
        assert_eq!(
            [read("5"), read("5.0"), read("5e0"), read("0"), read("-0.0")],
            [Some(5), Some(5), Some(5), Some(0), Some(0)]
        );
        for wrong in ["5.5", "-1", "-1.0", "4294967296", "4294967296.0", "1e300", "\"5\"", "null", "true"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
