//! How this crate declares things: structs with their layout, numbers with their names.

/// Declares ABI structs together with their size and the offset of every field.
///
/// A wrong figure fails to compile. Each struct is `repr(C)`, `Copy`, zero by default, and may be
/// viewed as bytes (`zerocopy`), which also proves that no padding is left unnamed.
macro_rules! abi {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident: $size:literal {
            $($(#[$field_meta:meta])* $offset:literal => $field:ident: $ty:ty,)*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout,
        )]
        #[repr(C)]
        pub struct $name {
            $($(#[$field_meta])* #[doc = concat!("At offset ", $offset, ".")] pub $field: $ty,)*
        }

        impl Default for $name {
            fn default() -> Self {
                zerocopy::FromZeros::new_zeroed()
            }
        }

        const _: () = {
            assert!(size_of::<$name>() == $size);
            $(assert!(core::mem::offset_of!($name, $field) == $offset);)*
        };
    )*};
}

/// Declares an enum of wire numbers, and the checked way back from a number.
macro_rules! wire_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident: $repr:ident {
            $($(#[$variant_meta:meta])* $variant:ident = $value:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr($repr)]
        pub enum $name {
            $($(#[$variant_meta])* #[doc = concat!("Number ", $value, ".")] $variant = $value,)*
        }

        impl $name {
            /// Every value the ABI defines, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The value with this wire number, if there is one.
            pub const fn from_number(number: $repr) -> Option<Self> {
                match number {
                    $($value => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The value an argument register names: like Xen, only the low bits count.
            #[allow(
                clippy::cast_possible_truncation, clippy::cast_possible_wrap, trivial_numeric_casts,
                reason = "the ABI reads commands as this narrower type"
            )]
            pub const fn from_register(register: u64) -> Option<Self> {
                Self::from_number(register as $repr)
            }

            /// The wire number.
            pub const fn number(self) -> $repr {
                self as $repr
            }
        }

        impl TryFrom<$repr> for $name {
            /// The number that means nothing.
            type Error = $repr;

            fn try_from(number: $repr) -> Result<Self, $repr> {
                Self::from_number(number).ok_or(number)
            }
        }
    };
}

/// Declares a transparent newtype over an unsigned integer.
macro_rules! newtype {
    ($(#[$meta:meta])* pub struct $name:ident($repr:ident), $format:literal) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout,
        )]
        #[repr(transparent)]
        pub struct $name($repr);

        impl $name {
            #[doc = concat!("The `", stringify!($name), "` with this number.")]
            pub const fn new(number: $repr) -> Self {
                Self(number)
            }

            /// The plain number.
            pub const fn get(self) -> $repr {
                self.0
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, $format, self.0)
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, concat!(stringify!($name), "(", $format, ")"), self.0)
            }
        }
    };
}

/// Lists the structs that may travel in a frame's `payload`, and adds the ways in and out.
macro_rules! payloads {
    ($frame:ident: $($payload:ty),* $(,)?) => {
        #[doc = concat!("What the payload of a [`", stringify!($frame), "`] may hold.")]
        pub trait Payload: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable + Copy {}

        $(
            impl Payload for $payload {}
            const _: () = assert!(size_of::<$payload>() <= size_of::<[u64; 16]>());
        )*

        impl $frame {
            /// The payload, read as `P`: which one it is, the command says.
            pub fn payload<P: Payload>(&self) -> P {
                let bytes = zerocopy::IntoBytes::as_bytes(&self.payload);
                // The sizes were asserted where the payloads are listed.
                P::read_from_prefix(bytes).map_or_else(|_| P::new_zeroed(), |(payload, _)| payload)
            }

            /// Replaces the front of the payload by `payload`.
            pub fn set_payload<P: Payload>(&mut self, payload: &P) {
                let bytes = zerocopy::IntoBytes::as_mut_bytes(&mut self.payload);
                for (to, from) in bytes.iter_mut().zip(payload.as_bytes()) {
                    *to = *from;
                }
            }
        }
    };
}
