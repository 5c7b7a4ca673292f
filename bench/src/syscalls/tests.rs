use super::*;

#[test]
fn the_line_of_the_event_is_read() {
    let text = "# started on Sun Nov 22 02:35:56 2026\n\n84,,raw_syscalls:sys_enter,1048576,100.00,,\n";
    assert_eq!(count(text), Some(84));
    assert_eq!(count("<not counted>,,raw_syscalls:sys_enter,0,100.00,,"), None);
    assert_eq!(count("event syntax error: 'raw_syscalls:sys_enter'"), None);
}
