//! A reader of pickles that builds a [`Tree`] and calls nothing: classes and calls are recorded by name.
//! Opcodes: Python's `pickletools`, protocols 2 to 5; the text opcodes of protocols 0 and 1 are refused.
use crate::CheckpointError;
use crate::budget::Budget;
use crate::tree::{Id, Object, Text, Tree, Value};
use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// Bytes charged for a value and for a slot: three times their size, since a growing vector holds old and new at once.
const VALUE_BYTES: usize = 3 * size_of::<Value>();
const SLOT_BYTES: usize = 3 * size_of::<Id>();
const MEMO_BYTES: usize = 48;

/// The values of the pickle at the start of `bytes`, and the number of bytes it takes.
///
/// # Errors
/// `Pickle`, which names the byte, for what is truncated, malformed or of another protocol; `TooLarge`.
pub(crate) fn read<'a>(
    bytes: &'a [u8],
    budget: &Budget,
) -> Result<(Tree<'a>, usize), CheckpointError> {
    let mut machine = Machine {
        bytes,
        at: 0,
        opcode_at: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: BTreeMap::new(),
        values: Vec::new(),
        budget,
    };
    machine.run()
}

struct Machine<'a, 'b> {
    bytes: &'a [u8],
    at: usize,
    opcode_at: usize,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: BTreeMap<u32, Id>,
    values: Vec<Value>,
    budget: &'b Budget,
}

type Done = Result<(), CheckpointError>;

impl<'a> Machine<'a, '_> {
    fn run(&mut self) -> Result<(Tree<'a>, usize), CheckpointError> {
        loop {
            self.opcode_at = self.at;
            let opcode = self.u8()?;
            if opcode == b'.' {
                let root = self.pop()?;
                let values = std::mem::take(&mut self.values);
                let bytes = self.bytes;
                let tree = Tree { bytes, values, root };
                return Ok((tree, self.at));
            }
            let is_known = self.scalar(opcode)?
                || self.memo(opcode)?
                || self.container(opcode)?
                || self.call(opcode)?;
            if !is_known {
                return Err(self.wrong(
                    "an opcode of protocols 2 to 5",
                    format!("0x{opcode:02x} `{}`", opcode.escape_ascii()),
                ));
            }
        }
    }

    /// Opcodes that push one value, move values or say how they are stored.
    fn scalar(&mut self, opcode: u8) -> Result<bool, CheckpointError> {
        let value = match opcode {
            0x80 => {
                let version = self.u8()?;
                if !(2..=5).contains(&version) {
                    return Err(self.wrong("protocol 2 to 5", version.to_string()));
                }
                return Ok(true);
            }
            // Frames only say how much to buffer.
            0x95 => return self.take(8).map(|_| true),
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'J' => Value::Int(i64::from(self.u32()? as i32)),
            b'K' => Value::Int(i64::from(self.u8()?)),
            b'M' => Value::Int(i64::from(u16::from_le_bytes(self.array()?))),
            b'G' => Value::Float(f64::from_be_bytes(self.array()?)),
            0x8a => {
                let len = u64::from(self.u8()?);
                self.long(len)?
            }
            0x8b => {
                let len = u64::from(self.u32()?);
                self.long(len)?
            }
            0x8c | b'U' | b'C' => {
                let len = u64::from(self.u8()?);
                self.text(opcode, len)?
            }
            b'X' | b'T' | b'B' => {
                let len = u64::from(self.u32()?);
                self.text(opcode, len)?
            }
            0x8d | 0x8e | 0x96 => {
                let len = u64::from_le_bytes(self.array()?);
                self.text(opcode, len)?
            }
            _ => return Ok(false),
        };
        self.push(value)?;
        Ok(true)
    }

    /// Opcodes that remember the value on top of the stack under a number, and that push a remembered one.
    fn memo(&mut self, opcode: u8) -> Result<bool, CheckpointError> {
        let index = match opcode {
            b'q' | b'h' => u32::from(self.u8()?),
            b'r' | b'j' => self.u32()?,
            0x94 => self.memo.len() as u32,
            _ => return Ok(false),
        };
        if matches!(opcode, b'h' | b'j') {
            let known = self.memo.get(&index).copied();
            let known = known.ok_or_else(|| self.wrong("a memo entry", index.to_string()))?;
            self.push_id(known)?;
        } else {
            self.charge(MEMO_BYTES)?;
            let top = self.top()?;
            self.memo.insert(index, top);
        }
        Ok(true)
    }

    /// Opcodes of the stack and of containers.
    fn container(&mut self, opcode: u8) -> Result<bool, CheckpointError> {
        match opcode {
            b'(' => {
                self.charge(SLOT_BYTES * 2)?;
                self.marks.push(self.stack.len());
            }
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.push_id(top)?;
            }
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b']' | b')' | 0x8f => self.push(Value::Sequence(Vec::new()))?,
            0x85..=0x87 => {
                let at = self.below(usize::from(opcode - 0x84))?;
                let elements = self.stack.split_off(at);
                self.push(Value::Sequence(elements))?;
            }
            b't' | 0x91 => {
                let elements = self.pop_mark()?;
                self.push(Value::Sequence(elements))?;
            }
            b'a' => {
                let element = self.pop()?;
                self.append(vec![element])?;
            }
            b'e' | 0x90 => {
                let elements = self.pop_mark()?;
                self.append(elements)?;
            }
            b's' => {
                let at = self.below(2)?;
                let pair = self.stack.split_off(at);
                self.set_items(&pair)?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set_items(&items)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Opcodes that would import, call or fetch something.
    fn call(&mut self, opcode: u8) -> Result<bool, CheckpointError> {
        match opcode {
            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                let module = self.new_value(module)?;
                let name = self.new_value(name)?;
                self.push(Value::Global(module, name))?;
            }
            0x93 => {
                let name = self.pop()?;
                let module = self.pop()?;
                self.push(Value::Global(module, name))?;
            }
            b'R' | 0x81 => {
                let arguments = self.pop()?;
                let callable = self.pop()?;
                self.object(callable, arguments)?;
            }
            0x92 => {
                let _keywords = self.pop()?;
                let arguments = self.pop()?;
                let callable = self.pop()?;
                self.object(callable, arguments)?;
            }
            b'b' => {
                let state = self.pop()?;
                let object = self.top()?;
                self.charge(SLOT_BYTES)?;
                match &mut self.values[object.0 as usize] {
                    Value::Object(o) => o.states.push(state),
                    _ => return Err(self.wrong("an object that takes a state", "none".to_owned())),
                }
            }
            b'Q' => {
                let id = self.pop()?;
                match self.class_with_source(id) {
                    Some(class) => self.push_id(class)?,
                    None => self.push(Value::Persistent(id))?,
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The class of `("module", class, file, source)`: legacy files hold the source text of classes, which nothing needs.
    fn class_with_source(&self, id: Id) -> Option<Id> {
        let Value::Sequence(parts) = &self.values[id.0 as usize] else {
            return None;
        };
        let &[tag, class, ..] = &parts[..] else {
            return None;
        };
        match &self.values[tag.0 as usize] {
            Value::Str(t) if self.slice(*t) == b"module" => Some(class),
            _ => None,
        }
    }

    /// `copyreg._reconstructor(class, base, state)` makes an instance of its first argument.
    fn object(&mut self, callable: Id, arguments: Id) -> Done {
        let is_reconstructor = match &self.values[callable.0 as usize] {
            Value::Global(_, name) => match &self.values[name.0 as usize] {
                Value::Str(t) => self.slice(*t) == b"_reconstructor",
                _ => false,
            },
            _ => false,
        };
        let class = match &self.values[arguments.0 as usize] {
            Value::Sequence(s) if is_reconstructor => s.first().copied(),
            _ => None,
        };
        self.charge(size_of::<Object>())?;
        self.push(Value::Object(Box::new(Object {
            callable: class.unwrap_or(callable),
            arguments,
            states: Vec::new(),
            pairs: Vec::new(),
            elements: Vec::new(),
        })))
    }

    fn append(&mut self, elements: Vec<Id>) -> Done {
        self.charge(SLOT_BYTES * elements.len())?;
        let target = self.top()?;
        match &mut self.values[target.0 as usize] {
            Value::Sequence(s) => s.extend(elements),
            Value::Object(o) => o.elements.extend(elements),
            _ => return Err(self.wrong("a list to append to", "another value".to_owned())),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Done {
        self.charge(SLOT_BYTES * items.len())?;
        let target = self.top()?;
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(self.wrong("keys and values", format!("{} values", items.len())));
        }
        let pairs = pairs.iter().map(|&[k, v]| (k, v));
        match &mut self.values[target.0 as usize] {
            Value::Dict(d) => d.extend(pairs),
            Value::Object(o) => o.pairs.extend(pairs),
            _ => return Err(self.wrong("a dictionary to set items of", "another value".to_owned())),
        }
        Ok(())
    }

    fn long(&mut self, len: u64) -> Result<Value, CheckpointError> {
        let text = self.take_text(len)?;
        let bytes = self.slice(text);
        if bytes.len() > 8 {
            return Ok(Value::Long);
        }
        let fill = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
        let mut all = [fill; 8];
        all[..bytes.len()].copy_from_slice(bytes);
        Ok(Value::Int(i64::from_le_bytes(all)))
    }

    fn text(&mut self, opcode: u8, len: u64) -> Result<Value, CheckpointError> {
        let text = self.take_text(len)?;
        Ok(match opcode {
            b'B' | b'C' | 0x8e | 0x96 => Value::Bytes(text),
            _ => Value::Str(text),
        })
    }

    fn line(&mut self) -> Result<Value, CheckpointError> {
        let len = memchr::memchr(b'\n', &self.bytes[self.at..]);
        let len = len.ok_or_else(|| self.wrong("a line", "the end of the pickle".to_owned()))?;
        let text = self.take_text(len as u64)?;
        self.take(1)?;
        Ok(Value::Str(text))
    }

    fn take_text(&mut self, len: u64) -> Result<Text, CheckpointError> {
        let start = self.at;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        self.take(len)?;
        let fits = |n: usize| u32::try_from(n).ok();
        let text = fits(start).zip(fits(len));
        let text = text.map(|(start, len)| Text { start, len });
        text.ok_or_else(|| self.wrong("a pickle below 4 GiB", format!("byte {start}")))
    }

    fn slice(&self, text: Text) -> &'a [u8] {
        &self.bytes[text.start as usize..][..text.len as usize]
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], CheckpointError> {
        let bytes: &'a [u8] = self.bytes;
        let rest = &bytes[self.at..];
        let taken = rest.get(..len);
        let taken = taken.ok_or_else(|| {
            self.wrong("more bytes", format!("{} bytes where {len} must follow", rest.len()))
        })?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CheckpointError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8, CheckpointError> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32, CheckpointError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn new_value(&mut self, value: Value) -> Result<Id, CheckpointError> {
        self.charge(VALUE_BYTES)?;
        let id = u32::try_from(self.values.len());
        let id = id.map_err(|_| self.wrong("fewer values", "2^32".to_owned()))?;
        self.values.push(value);
        Ok(Id(id))
    }

    fn push(&mut self, value: Value) -> Done {
        let id = self.new_value(value)?;
        self.push_id(id)
    }

    fn push_id(&mut self, id: Id) -> Done {
        self.charge(SLOT_BYTES)?;
        self.stack.push(id);
        Ok(())
    }

    /// Values below the last mark belong to another container.
    fn below(&self, count: usize) -> Result<usize, CheckpointError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let at = self.stack.len().checked_sub(count).filter(|&a| a >= floor);
        at.ok_or_else(|| {
            let found = self.stack.len().saturating_sub(floor);
            self.wrong("more values on the stack", found.to_string())
        })
    }

    fn top(&self) -> Result<Id, CheckpointError> {
        self.below(1).map(|at| self.stack[at])
    }

    fn pop(&mut self) -> Result<Id, CheckpointError> {
        let at = self.below(1)?;
        Ok(self.stack.remove(at))
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, CheckpointError> {
        let mark = self.marks.pop();
        let mark = mark.ok_or_else(|| self.wrong("a mark on the stack", "none".to_owned()))?;
        Ok(self.stack.split_off(mark))
    }

    fn charge(&self, bytes: usize) -> Done {
        let at = self.opcode_at;
        self.budget.charge(bytes, || format!("byte {at} of the pickle"))
    }

    fn wrong(&self, expected: &'static str, found: String) -> CheckpointError {
        CheckpointError::Pickle { offset: self.opcode_at, expected, found }
    }
}
