//! Tools of tests that are not about the tool: each does what its name says.

#[jidoka::tool]
mod tools {
    use jidoka::json::{Value, json};
    use jidoka::turns::argument;
    use jidoka::{Result, andon, clock, evidence, fetch, random, workspace};

    /// Gives back what it gets.
    #[schema(r#"{"type":"object","properties":{"value":{}},"required":["value"],"additionalProperties":false}"#)]
    pub fn echo(input: Value) -> Result<Value> {
        Ok(input["value"].clone())
    }

    /// Says no.
    pub fn refuse(input: Value) -> Result<Value> {
        Err(argument(&input, "why")?.into())
    }

    /// Writes a file of the workspace.
    pub fn write(input: Value) -> Result<Value> {
        workspace::write(argument(&input, "path")?, argument(&input, "text")?)?;
        Ok(json!("written"))
    }

    /// Appends to a file of the workspace, as it finds it.
    pub fn append(input: Value) -> Result<Value> {
        let path = argument(&input, "path")?;
        let before = workspace::read(path).unwrap_or_default();
        workspace::write(path, format!("{before}{}", argument(&input, "text")?))?;
        Ok(json!(before))
    }

    /// Removes a file of the workspace.
    pub fn remove(input: Value) -> Result<Value> {
        workspace::remove(argument(&input, "path")?)?;
        Ok(json!("removed"))
    }

    /// Reads a file of the workspace.
    pub fn read(input: Value) -> Result<Value> {
        Ok(json!(workspace::read(argument(&input, "path")?)?))
    }

    /// Fetches an address.
    pub fn get(input: Value) -> Result<Value> {
        let reply = fetch::get(argument(&input, "url")?)?;
        Ok(json!({"status": reply.status, "body": String::from_utf8_lossy(&reply.body)}))
    }

    /// Writes a note, prints, and attaches evidence.
    pub fn talk(input: Value) -> Result<Value> {
        let text = argument(&input, "text")?;
        jidoka::info!("{text}");
        println!("{text}");
        Ok(json!(evidence::attach("note", "note.txt", text)?))
    }

    /// Draws a number and reads the clock.
    pub fn draw(_: Value) -> Result<Value> {
        Ok(json!({"drawn": random::bytes(8)?, "now": clock::now_ms()}))
    }

    /// Pulls the cord.
    pub fn pull(input: Value) -> Result<Value> {
        andon::pull(andon::Category::Defect, argument(&input, "why")?, &[])
    }

    /// Counts its calls.
    pub fn count(_: Value) -> Result<Value> {
        // Each call is of an instance of its own.
        static CALLS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        Ok(json!(CALLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1))
    }
}
