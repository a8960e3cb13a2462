use super::read;
use crate::CheckpointError;
use crate::budget::Budget;
use crate::tree::{Tree, Value};

fn parse(bytes: &[u8]) -> Result<Tree<'_>, CheckpointError> {
    read(bytes, &Budget::new(1 << 20)).map(|(tree, _)| tree)
}

/// What an error says.
fn refusal(bytes: &[u8]) -> String {
    parse(bytes).expect_err("it is refused").to_string()
}

#[test]
fn scalars_of_every_form_are_read() {
    let tree = parse(b"\x80\x02(K\x07M\x00\x01J\xff\xff\xff\xff\x8a\x02\x00\x80G?\xf8\0\0\0\0\0\0\x88NX\x02\0\0\0okt.").expect("valid");
    let values = tree.sequence(tree.root).expect("a tuple").to_vec();
    assert_eq!(tree.int(values[0]), Some(7));
    assert_eq!(tree.int(values[1]), Some(256));
    assert_eq!(tree.int(values[2]), Some(-1));
    assert_eq!(tree.int(values[3]), Some(-32768));
    assert_eq!(tree.float(values[4]), Some(1.5));
    assert!(matches!(tree.value(values[5]), Value::Bool(true)));
    assert!(matches!(tree.value(values[6]), Value::None));
    assert_eq!(tree.str(values[7]), Some("ok"));
}

#[test]
fn a_call_is_recorded_and_not_made() {
    let tree = parse(b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R.").expect("valid");
    assert_eq!(tree.class(tree.root), Some(("os", "system")));
    assert_eq!(tree.describe(tree.root), "os.system");
}

#[test]
fn a_list_that_contains_itself_is_read() {
    let tree = parse(b"\x80\x02]q\x00h\x00a.").expect("valid");
    assert_eq!(tree.sequence(tree.root), Some(&[tree.root][..]));
}

#[test]
fn of_two_equal_keys_the_last_counts() {
    let tree = parse(b"\x80\x02}(X\x01\0\0\0aK\x01X\x01\0\0\0aK\x02u.").expect("valid");
    let value = tree.get(tree.root, "a").expect("it is there");
    assert_eq!(tree.int(value), Some(2));
}

#[test]
fn malformed_pickles_tell_the_byte() {
    for (bytes, expected) in [
        (&b"\x80\x02X\xff\xff\xff\x7fab."[..], "byte 2: expected more bytes"),
        (b"\x80\x02h\x09.", "byte 2: expected a memo entry, found 9"),
        (b"\x80\x02R.", "byte 2: expected more values on the stack, found 0"),
        (b"\x80\x02u.", "byte 2: expected a mark"),
        (b"\x80\x02K\x01(b.", "byte 5: expected more values"),
        (b"\x80\x02}(K\x01u.", "expected keys and values, found 1 values"),
        (b"\x80\x02K\x01", "byte 4: expected more bytes, found 0 bytes"),
        (b"\x80\x09.", "expected protocol 2 to 5, found 9"),
        (b"\x80\x02I5\n.", "expected an opcode of protocols 2 to 5, found 0x49 `I`"),
        (b"\x80\x02cos", "expected a line"),
    ] {
        let found = refusal(bytes);
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn values_beyond_the_budget_are_refused() {
    let nones = [&b"\x80\x02"[..], &[b'N'; 1 << 16]].concat();
    assert!(refusal(&nones).contains("unfolds to more than"));
    let marks = [&b"\x80\x02"[..], &[b'('; 1 << 16]].concat();
    assert!(refusal(&marks).contains("unfolds to more than"));
}

#[test]
fn doubling_lists_take_no_memory_for_what_they_share() {
    // Each list holds the one before it twice: 2^40 leaves if anything unfolded them.
    let mut bytes = b"\x80\x02]q\x00".to_vec();
    for i in 1..=40u8 {
        bytes.extend([b'(', b'h', i - 1, b'h', i - 1, b't', b'q', i]);
    }
    bytes.push(b'.');
    let tree = parse(&bytes).expect("valid");
    assert!(tree.values.len() < 100);
}
