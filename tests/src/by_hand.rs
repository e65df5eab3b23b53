//! Workers written by hand, as WebAssembly text: what no toolchain would make.

/// The export of a worker, lifted from the core instance `$i` with its memory and its `realloc`.
pub const RUN: &str = r#"
    (type $task (record
        (field "item" string) (field "attempt" u32) (field "text" string)
        (field "inputs" (list (tuple string string)))))
    (export $a-task "task" (type $task))
    (type $status (enum "done" "no-change-needed" "unable" "needs-human"))
    (export $a-status "status" (type $status))
    (type $report (record (field "status" $a-status) (field "summary" string) (field "evidence" (list string))))
    (export $a-report "report" (type $report))
    (type $run (func (param "task" $a-task) (result (result $a-report (error string)))))
    (func $run (type $run)
        (canon lift (core func $i "run") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
    (export "run" (func $run))"#;

/// A `realloc` that gives out memory from 4096 on, and takes none back.
const REALLOC: &str = r#"
    (global $free (mut i32) (i32.const 4096))
    (func $realloc (export "realloc") (param i32 i32 i32 i32) (result i32)
        (local i32)
        (local.set 4 (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
        (global.set $free (i32.add (local.get 4) (local.get 3)))
        (local.get 4))"#;

/// What a worker by hand is made of. Its report stands at 1024 and says `done` with an empty summary.
#[derive(Clone, Debug)]
pub struct ByHand {
    /// In the component, before its module: imports, other modules and components.
    pub beside: String,
    /// The core functions that its module is given: a name, its core type, and the function of the component.
    pub given: Vec<(&'static str, &'static str, &'static str)>,
    /// In its module.
    pub core: String,
    /// In its function, after the locals.
    pub body: String,
    /// `realloc`, which may lie.
    pub realloc: String,
    /// What the component exports.
    pub exports: String,
}

impl Default for ByHand {
    fn default() -> Self {
        Self {
            beside: String::new(),
            given: Vec::new(),
            core: String::new(),
            body: String::new(),
            realloc: REALLOC.to_owned(),
            exports: RUN.to_owned(),
        }
    }
}

impl ByHand {
    /// The text of the component.
    pub fn text(&self) -> String {
        let Self { beside, given, core, body, realloc, exports } = self;
        let mut imports = String::new();
        let mut arguments = String::new();
        for (name, ty, function) in given {
            imports += &format!("(import \"given\" \"{name}\" (func ${name} {ty}))\n");
            arguments += &format!("(export \"{name}\" (func {function}))\n");
        }
        // The host's functions need a memory before there is a module that calls them, so it is a module of its own.
        format!(
            r#"(component
                (core module $own (memory (export "memory") 1) {realloc})
                (core instance $own (instantiate $own))
                {beside}
                (core module $m
                    {imports}
                    (import "own" "memory" (memory 1))
                    (import "own" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
                    (export "memory" (memory 0))
                    (export "realloc" (func $realloc))
                    {core}
                    (func (export "run") (param i32 i32 i32 i32 i32 i32 i32) (result i32) {body} (i32.const 1024)))
                (core instance $i (instantiate $m
                    (with "own" (instance $own))
                    (with "given" (instance {arguments}))))
                {exports})"#
        )
    }

    /// The component.
    pub fn bytes(&self) -> Vec<u8> {
        wat::parse_str(self.text()).unwrap_or_else(|error| panic!("{error}\n{}", self.text()))
    }
}

/// A worker with one memory of its own: `core` stands in its module, `body` in its function, `beside` before both.
pub fn worker(beside: &str, core: &str, body: &str) -> Vec<u8> {
    component(beside, core, body, RUN)
}

/// As [`worker`], with other exports.
pub fn component(beside: &str, core: &str, body: &str, exports: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
            {beside}
            (core module $m
                (memory (export "memory") 1)
                {REALLOC}
                {core}
                (func (export "run") (param i32 i32 i32 i32 i32 i32 i32) (result i32) {body} (i32.const 1024)))
            (core instance $i (instantiate $m))
            {exports})"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}
