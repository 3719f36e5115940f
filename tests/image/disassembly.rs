//! `objdump`'s listing, read back.

use std::fmt;

/// One line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// The symbol it lies behind.
    pub(crate) function: String,
    /// What it does, without prefixes.
    pub(crate) mnemonic: String,
    /// The whole line.
    text: String,
}

/// Instructions that touch FPU state without naming a register, or that are no x87 instruction
/// though their name starts with the letter of those.
const STATE: [&str; 6] = [
    "emms",
    "ldmxcsr",
    "stmxcsr",
    "vldmxcsr",
    "vstmxcsr",
    "vzeroupper",
];
const PREFIXES: [&str; 12] = [
    "rep", "repz", "repnz", "lock", "cs", "ds", "es", "ss", "fs", "gs", "data16", "bnd",
];

impl Instruction {
    /// Whether it reads or writes an x87, MMX or vector register, or their control words.
    pub(crate) fn touches_fpu(&self) -> bool {
        let mnemonic = self.mnemonic.as_str();
        // Every x87 instruction, FXSAVE and FXRSTOR start with this letter, and nothing else does.
        mnemonic.starts_with('f')
            || mnemonic.starts_with("xsave")
            || mnemonic.starts_with("xrstor")
            || STATE.contains(&mnemonic)
            || self.operands().any(is_fpu_register)
    }

    fn operands(&self) -> impl Iterator<Item = &str> {
        let code = self.text.split(['<', '#']).next().unwrap_or_default();
        code.split(|c: char| !c.is_ascii_alphanumeric())
    }
}

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.function, self.text)
    }
}

fn is_fpu_register(word: &str) -> bool {
    let number = |prefix| word.strip_prefix(prefix).is_some_and(is_number);
    word == "st"
        || ["xmm", "ymm", "zmm", "mm", "tmm", "k"]
            .into_iter()
            .any(number)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads the listing of `objdump --disassemble --no-show-raw-insn -M intel`.
pub(crate) fn parse(listing: &str) -> Vec<Instruction> {
    let mut function = String::new();
    let mut code = Vec::new();
    for line in listing.lines() {
        if let Some(name) = symbol(line) {
            name.clone_into(&mut function);
        } else if let Some((_, text)) = line.split_once(":\t") {
            let words = text.split_whitespace();
            let mnemonic = words.into_iter().find(|word| !is_prefix(word));
            code.push(Instruction {
                function: function.clone(),
                mnemonic: mnemonic.unwrap_or_default().to_owned(),
                text: text.to_owned(),
            });
        }
    }
    code
}

fn is_prefix(word: &str) -> bool {
    PREFIXES.contains(&word) || word.starts_with("rex")
}

/// The name in `ffff82d080200000 <name>:`.
fn symbol(line: &str) -> Option<&str> {
    let (address, name) = line.split_once(" <")?;
    let is_address = address.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.strip_suffix(">:").filter(|_| is_address)
}

#[cfg(test)]
mod tests {
    use super::parse;

    const LISTING: &str = "\
ffff82d080200000 <core::plain>:
ffff82d080200000:\tpush   rbp
ffff82d080200001:\trep stos QWORD PTR es:[rdi],rax
ffff82d080200004:\tcall   ffff82d080200040 <memory::fill_xmm0>
ffff82d080200009:\tfs gs jb ffff82d080200163 <other>

ffff82d080200040 <core::vector>:
ffff82d080200040:\tmovaps XMMWORD PTR [rdi],xmm0
ffff82d080200044:\tmovq   mm3,rax
ffff82d080200048:\tvpxord zmm16,zmm16,zmm16
ffff82d080200050:\tkmovw  k1,eax
ffff82d080200054:\tfild   DWORD PTR [rax]
ffff82d080200058:\tfwait
ffff82d08020005c:\tldmxcsr DWORD PTR [rax]
";

    #[test]
    fn every_kind_of_fpu_register_is_found_and_nothing_else() {
        let code = parse(LISTING);
        let (plain, vector): (Vec<_>, Vec<_>) =
            code.iter().partition(|it| it.function == "core::plain");
        assert_eq!((plain.len(), vector.len()), (4, 7));
        assert!(plain.iter().all(|it| !it.touches_fpu()));
        assert!(vector.iter().all(|it| it.touches_fpu()));
    }

    #[test]
    fn prefixes_are_no_mnemonics() {
        let code = parse(LISTING);
        assert_eq!(code[1].mnemonic, "stos");
        assert_eq!(code[3].mnemonic, "jb");
    }
}
