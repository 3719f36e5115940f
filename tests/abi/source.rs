//! Reads guest-abi's declarations from its source: what is checked is what is written there.
//!
//! The offsets written in `abi!` are asserted by the compiler, so comparing them with the C
//! headers compares the real layout.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use syn::parse::{Parse, ParseStream, Result};
use syn::punctuated::Punctuated;
use syn::{
    Attribute, BinOp, Expr, Ident, ImplItem, Item, ItemConst, Lit, LitInt, Token, Type, UnOp,
    Visibility, braced, token,
};

/// All that guest-abi declares, by full name (`module::Item`).
#[derive(Debug, Default)]
pub(crate) struct Declarations {
    /// `abi!` structs.
    pub(crate) structs: BTreeMap<String, Struct>,
    /// Named numbers in a group: `wire_enum!`, `bitflags!`, `errno!`, and constants of types.
    pub(crate) groups: BTreeMap<String, Vec<(String, i128)>>,
    /// Single constants; without a value where it takes a compiler to tell.
    pub(crate) constants: BTreeMap<String, Option<i128>>,
    /// Public structs that are declared without `abi!`.
    pub(crate) plain: Vec<(String, bool)>,
}

/// One struct of the ABI.
#[derive(Debug)]
pub(crate) struct Struct {
    /// Its size.
    pub(crate) size: u64,
    /// Its fields, padding included: name and offset.
    pub(crate) fields: Vec<(String, u64)>,
}

/// Reads the crate whose sources lie in `root`.
pub(crate) fn read(root: &Path) -> Declarations {
    let mut all = Declarations::default();
    read_folder(root, "", &mut all);
    all
}

fn read_folder(folder: &Path, module: &str, all: &mut Declarations) {
    for entry in fs::read_dir(folder)
        .expect("guest-abi's sources")
        .map(|entry| entry.unwrap())
    {
        let path = entry.path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let name = match stem.as_str() {
            "lib" | "mod" => module.to_owned(),
            _ if module.is_empty() => stem,
            _ => format!("{module}::{stem}"),
        };
        if path.is_dir() {
            read_folder(&path, &name, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let file = syn::parse_file(&text).unwrap_or_else(|why| panic!("{path:?}: {why}"));
            read_items(&file.items, &name, all);
        }
    }
}

fn read_items(items: &[Item], module: &str, all: &mut Declarations) {
    let mut known = BTreeMap::new();
    for item in items {
        match item {
            Item::Macro(item) => read_macro(&item.mac, module, all),
            Item::Const(item) => read_const(item, module, &mut known, all),
            Item::Struct(item) if matches!(item.vis, Visibility::Public(_)) => {
                let is_repr_c = item.attrs.iter().any(|attr| attr.path().is_ident("repr"));
                all.plain
                    .push((format!("{module}::{}", item.ident), is_repr_c));
            }
            Item::Impl(item) if item.trait_.is_none() => {
                let Type::Path(owner) = &*item.self_ty else {
                    continue;
                };
                let Some(owner) = owner.path.get_ident() else {
                    continue;
                };
                for item in &item.items {
                    let ImplItem::Const(item) = item else {
                        continue;
                    };
                    if let (Visibility::Public(_), Some(value)) =
                        (&item.vis, value(&item.expr, &known))
                    {
                        let group = all.groups.entry(format!("{module}::{owner}")).or_default();
                        group.push((item.ident.to_string(), value));
                    }
                }
            }
            _ => {}
        }
    }
}

fn read_const(
    item: &ItemConst,
    module: &str,
    known: &mut BTreeMap<String, i128>,
    all: &mut Declarations,
) {
    let Visibility::Public(_) = item.vis else {
        return;
    };
    let value = value(&item.expr, known);
    known.extend(value.map(|value| (item.ident.to_string(), value)));
    all.constants
        .insert(format!("{module}::{}", item.ident), value);
}

fn read_macro(mac: &syn::Macro, module: &str, all: &mut Declarations) {
    let name = mac.path.segments.last().unwrap().ident.to_string();
    let in_module = |ident: &Ident| format!("{module}::{ident}");
    match name.as_str() {
        "abi" => {
            let Many(structs) = mac.parse_body::<Many<AbiStruct>>().unwrap();
            for declared in structs {
                all.structs
                    .insert(in_module(&declared.name), declared.layout);
            }
        }
        "wire_enum" => {
            let group: Group<Expr> = mac.parse_body().unwrap();
            all.groups.insert(in_module(&group.name), group.values);
        }
        "bitflags" => {
            let Many(groups) = mac.parse_body::<Many<Group<Flag>>>().unwrap();
            for group in groups {
                all.groups.insert(in_module(&group.name), group.values);
            }
        }
        "errno" => {
            let values = mac.parse_body_with(parse_values::<Expr>).unwrap();
            all.groups.insert(format!("{module}::Errno"), values);
        }
        _ => {}
    }
}

/// Any number of declarations, one after the other.
struct Many<T>(Vec<T>);

impl<T: Parse> Parse for Many<T> {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut all = Vec::new();
        while !input.is_empty() {
            all.push(input.parse()?);
        }
        Ok(Self(all))
    }
}

/// `pub struct Name: SIZE { OFFSET => field: Type, … }`
struct AbiStruct {
    name: Ident,
    layout: Struct,
}

impl Parse for AbiStruct {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        Attribute::parse_outer(input)?;
        input.parse::<Token![pub]>()?;
        input.parse::<Token![struct]>()?;
        let name = input.parse()?;
        input.parse::<Token![:]>()?;
        let size = input.parse::<LitInt>()?.base10_parse()?;
        let body;
        braced!(body in input);
        let fields = Punctuated::<AbiField, Token![,]>::parse_terminated(&body)?;
        let fields = fields.into_iter().map(|field| field.0).collect();
        Ok(Self {
            name,
            layout: Struct { size, fields },
        })
    }
}

struct AbiField((String, u64));

impl Parse for AbiField {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        Attribute::parse_outer(input)?;
        let offset = input.parse::<LitInt>()?.base10_parse()?;
        input.parse::<Token![=>]>()?;
        let name: Ident = input.parse()?;
        input.parse::<Token![:]>()?;
        input.parse::<Type>()?;
        Ok(Self((name.to_string(), offset)))
    }
}

/// `pub enum Name: type { A = 1, … }`, or the same with `struct` and `const A = 1;`.
struct Group<T> {
    name: Ident,
    values: Vec<(String, i128)>,
    _kind: std::marker::PhantomData<T>,
}

impl<T: Value> Parse for Group<T> {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        Attribute::parse_outer(input)?;
        input.parse::<Token![pub]>()?;
        if input.peek(Token![enum]) {
            input.parse::<Token![enum]>()?;
        } else {
            input.parse::<Token![struct]>()?;
        }
        let name = input.parse()?;
        input.parse::<Token![:]>()?;
        input.parse::<Type>()?;
        let body;
        braced!(body in input);
        let values = parse_values::<T>(&body)?;
        Ok(Self {
            name,
            values,
            _kind: std::marker::PhantomData,
        })
    }
}

/// How one value of a group is introduced and ended.
trait Value {
    fn begin(input: ParseStream<'_>) -> Result<()>;
    fn end(input: ParseStream<'_>) -> Result<()>;
}

/// A `bitflags!` constant.
struct Flag;

impl Value for Flag {
    fn begin(input: ParseStream<'_>) -> Result<()> {
        input.parse::<Token![const]>().map(drop)
    }

    fn end(input: ParseStream<'_>) -> Result<()> {
        input.parse::<Token![;]>().map(drop)
    }
}

/// An enum's variant.
impl Value for Expr {
    fn begin(_: ParseStream<'_>) -> Result<()> {
        Ok(())
    }

    fn end(input: ParseStream<'_>) -> Result<()> {
        input.parse::<Token![,]>().map(drop)
    }
}

fn parse_values<T: Value>(input: ParseStream<'_>) -> Result<Vec<(String, i128)>> {
    let mut values = Vec::new();
    while !input.is_empty() && !input.peek(token::Brace) {
        Attribute::parse_outer(input)?;
        T::begin(input)?;
        let name: Ident = input.parse()?;
        input.parse::<Token![=]>()?;
        let expression: Expr = input.parse()?;
        T::end(input)?;
        let value = value(&expression, &BTreeMap::new())
            .ok_or_else(|| syn::Error::new(name.span(), "a value that takes a compiler"))?;
        values.push((name.to_string(), value));
    }
    Ok(values)
}

/// What a constant's expression amounts to, if it is simple.
fn value(expression: &Expr, known: &BTreeMap<String, i128>) -> Option<i128> {
    match expression {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Int(number) => number.base10_parse().ok(),
            _ => None,
        },
        Expr::Paren(inner) => value(&inner.expr, known),
        Expr::Unary(unary) => match unary.op {
            UnOp::Neg(_) => value(&unary.expr, known).map(|number| -number),
            _ => None,
        },
        Expr::Binary(binary) => {
            let (left, right) = (value(&binary.left, known)?, value(&binary.right, known)?);
            match binary.op {
                BinOp::Shl(_) => left.checked_shl(u32::try_from(right).ok()?),
                BinOp::Sub(_) => Some(left - right),
                BinOp::BitOr(_) => Some(left | right),
                _ => None,
            }
        }
        // A newtype's constant: `Self(0x7ff0)`.
        Expr::Call(call) if call.args.len() == 1 => value(call.args.first()?, known),
        Expr::Path(path) => {
            let segments: Vec<_> = path
                .path
                .segments
                .iter()
                .map(|segment| segment.ident.to_string())
                .collect();
            match segments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["u32", "MAX"] => Some(i128::from(u32::MAX)),
                ["u64", "MAX"] => Some(i128::from(u64::MAX)),
                [name] => known.get(name).copied(),
                _ => None,
            }
        }
        _ => None,
    }
}
