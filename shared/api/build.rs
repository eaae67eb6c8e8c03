//! Compiles `proto/` without protoc, refuses methods that lack a policy, and writes down what else the protos say.

use anyhow::{Context as _, Result, bail};
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value,
};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The option's name in the descriptors.
const ACCESS: &str = "clientele.policy.v1.access";
/// Verbs of methods that change nothing; every other method needs a request id.
const READS: &[&str] = &[
    "Get",
    "BatchGet",
    "List",
    "Search",
    "Check",
    "BatchCheck",
    "Test",
    "Render",
    "Watch",
];

/// A new resource whose id is its uid has no name yet either.
const NAMED_BY_UID: &str = "if self.version == 1 && self.name.ends_with(&self.uid) { self.name.clear(); }";

fn main() -> Result<()> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    println!("cargo:rerun-if-changed={}", root.display()); // tonic-prost-build does not say it

    let mut files = Vec::new();
    find_protos(&root.join("clientele"), &mut files)?;
    files.sort();
    let mut compiler = protox::Compiler::new([&root])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(&files)?;
    std::fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;

    let pool = compiler.descriptor_pool();
    let mut config = tonic_prost_build::Config::new();
    config
        .skip_debug(
            messages(&pool)
                .filter(has_secrets)
                .map(|message| format!(".{}", message.full_name())),
        )
        .btree_map(["."])
        .bytes(["."])
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        .include_file("_includes.rs");
    tonic_prost_build::configure()
        .codec_path("crate::codec::MessageCodec")
        .compile_fds_with_config(compiler.file_descriptor_set(), config)?;

    let methods = Methods::read(&pool)?;
    if !methods.errors.is_empty() {
        for error in &methods.errors {
            println!("cargo::error={error}");
        }
        bail!("{} methods are refused", methods.errors.len());
    }
    std::fs::write(out.join("methods.rs"), methods.rust())?;
    Ok(())
}

fn find_protos(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            find_protos(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}

/// The Rust text of the table of methods and of the traits' implementations.
#[derive(Default)]
struct Methods {
    table: Vec<(String, String)>,
    impls: String,
    /// The bodies of mutations by their requests, for the test that they hold no password.
    bodies: String,
    requests: Vec<String>,
    errors: Vec<String>,
}

impl Methods {
    fn read(pool: &DescriptorPool) -> Result<Self> {
        let mut methods = Self::default();
        let mut all: Vec<MethodDescriptor> = pool
            .services()
            .flat_map(|service| service.methods().collect::<Vec<_>>())
            .collect();
        all.sort_by_key(path);
        for method in all {
            if let Err(error) = methods.add(pool, &method) {
                methods.errors.push(format!("{}: {error}", method.full_name()));
            }
        }
        for message in messages(pool) {
            methods.resource(&message)?;
            if has_secrets(&message) {
                methods.masked(&message)?;
            }
        }
        let answers: BTreeMap<String, MessageDescriptor> = pool
            .services()
            .flat_map(|service| service.methods().collect::<Vec<_>>())
            .filter(|method| method.input().get_field_by_name("validate_only").is_some())
            .map(|method| (method.output().full_name().to_owned(), method.output()))
            .filter(|(_, answer)| answer.package_name().starts_with("clientele.") && !is_resource(answer))
            .collect();
        for answer in answers.values() {
            methods.answer(answer)?;
        }
        Ok(methods)
    }

    /// A message with name, uid and version is a resource.
    fn resource(&mut self, message: &MessageDescriptor) -> Result<()> {
        if !is_resource(message) {
            return Ok(());
        }
        for (field, number) in [("name", 1), ("uid", 2), ("version", 3)] {
            // What is left of an erased one is written without its type being known.
            if message.get_field_by_name(field).map(|field| field.number()) != Some(number) {
                bail!("{}: its {field} must have the number {number}", message.full_name());
            }
        }
        let rust = rust_path(message);
        let mut conceal = String::new();
        find_times(message, "self", &mut conceal)?;
        write!(
            self.impls,
            "impl Resource for {rust} {{ fn name(&self) -> &str {{ &self.name }} fn uid(&self) -> &str {{ &self.uid }} fn version(&self) -> i64 {{ self.version }} }}
             impl Preview for {rust} {{ fn conceal(&mut self) {{ {NAMED_BY_UID} self.uid.clear(); self.etag.clear(); {conceal} }} }}\n"
        )?;
        Ok(())
    }

    /// A message with secrets does not show them, whoever logs it.
    fn masked(&mut self, message: &MessageDescriptor) -> Result<()> {
        if message.parent_message().is_some() || message.oneofs().any(|oneof| !oneof.is_synthetic()) {
            bail!(
                "{} holds a secret, so it must be a message of its own without oneof",
                message.full_name()
            );
        }
        let (rust, name) = (rust_path(message), message.name());
        let mut fields = String::new();
        for field in message.fields() {
            let name = field.name();
            if is_secret(&field) {
                write!(fields, ".field({name:?}, &\"***\")")?;
            } else {
                write!(fields, ".field({name:?}, &self.{name})")?;
            }
        }
        writeln!(
            self.impls,
            "impl std::fmt::Debug for {rust} {{ fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {{
             f.debug_struct({name:?}){fields}.finish() }} }}"
        )?;
        Ok(())
    }

    /// The answer of a mutation that is no resource may hold some.
    fn answer(&mut self, message: &MessageDescriptor) -> Result<()> {
        let mut conceal = String::new();
        for field in message.fields() {
            let name = field.name();
            match field.kind() {
                Kind::Message(inner) if is_resource(&inner) && field.is_list() => {
                    write!(conceal, "self.{name}.iter_mut().for_each(Preview::conceal);")?;
                }
                Kind::Message(inner) if is_resource(&inner) => {
                    write!(
                        conceal,
                        "if let Some({name}) = &mut self.{name} {{ {name}.conceal(); }}"
                    )?;
                }
                _ => {}
            }
        }
        let rust = rust_path(message);
        writeln!(
            self.impls,
            "impl Preview for {rust} {{ fn conceal(&mut self) {{ {conceal} }} }}"
        )?;
        Ok(())
    }

    fn add(&mut self, pool: &DescriptorPool, method: &MethodDescriptor) -> Result<()> {
        let extension = pool
            .get_extension_by_name(ACCESS)
            .context("the policy option is gone")?;
        let options = method.options();
        if !options.has_extension(&extension) {
            bail!("has no option ({ACCESS})");
        }
        let options = options.get_extension(&extension);
        let access = options.as_message().context("the policy is no message")?;
        let request = method.input();
        if self.requests.iter().any(|known| known == request.full_name()) {
            bail!("shares its request with another method");
        }
        self.requests.push(request.full_name().to_owned());

        let names = read_names(access);
        if let Some(name) = names.iter().find(|name| name.patterns.is_empty()) {
            bail!("its name {} has no pattern", name.field);
        }
        let index = self.table.len();
        self.table.push((path(method), table_row(method, access, &names)?));
        let rust = rust_path(&request);
        let mut accessors = String::new();
        for (at, name) in names.iter().enumerate() {
            write!(
                accessors,
                "(&Self::METHOD.names[{at}], {}),",
                string_accessor(&request, &name.field)?
            )?;
        }
        write!(
            self.impls,
            "impl Request for {rust} {{ type Level = level::{}; const METHOD: &'static Method = &METHODS[{index}];
             fn names(&self) -> Vec<(&'static Name, &str)> {{ vec![{accessors}] }} }}\n",
            level(&names)
        )?;

        let verb = READS.iter().any(|verb| is_verb(method.name(), verb));
        // The answers of sessions' methods hold tokens: one that could be given again would have to be kept.
        let unremembered = method.parent_service().name() == "SessionService";
        match (request.get_field_by_name("request_id").is_some(), verb || unremembered) {
            (true, false) => self.mutation(method, access, &request, &rust)?,
            (false, true) => {}
            (true, true) => bail!("reads, so it takes no request_id"),
            (false, false) => bail!("changes something, so it takes a request_id"),
        }
        if request.get_field_by_name("page_token").is_some() {
            write!(
                self.impls,
                "impl Page for {rust} {{ fn page_size(&self) -> i32 {{ self.page_size }} fn page_token(&self) -> &str {{ &self.page_token }}
                 fn body(&self) -> Vec<u8> {{ let mut body = self.clone(); body.page_size = 0; body.page_token.clear(); prost::Message::encode_to_vec(&body) }} }}\n"
            )?;
        }
        Ok(())
    }

    fn mutation(
        &mut self,
        method: &MethodDescriptor,
        access: &DynamicMessage,
        request: &MessageDescriptor,
        rust: &str,
    ) -> Result<()> {
        if request.get_field_by_name("validate_only").is_none() {
            bail!("changes something, so it takes validate_only");
        }
        if let Some(deep) = deep_password(request, 0) {
            bail!("hides its password in {deep}, where it would become part of the hash of the request");
        }
        let mut forget = String::new();
        for password in request.fields().filter(is_password) {
            write!(forget, "body.{} = Default::default();", password.name())?;
        }
        write!(
            self.impls,
            "impl Mutation for {rust} {{ fn request_id(&self) -> &str {{ &self.request_id }} fn validate_only(&self) -> bool {{ self.validate_only }}
             fn body(&self) -> Vec<u8> {{ let mut body = self.clone(); body.request_id.clear(); body.validate_only = false; {forget} prost::Message::encode_to_vec(&body) }} }}\n"
        )?;
        write!(
            self.bodies,
            "({:?}, |bytes| Mutation::body(&<{rust} as prost::Message>::decode(bytes).unwrap_or_default())),",
            request.full_name()
        )?;
        if request.get_field_by_name("update_mask").is_none() {
            return Ok(());
        }
        let resource = request
            .fields()
            .find(|field| matches!(field.kind(), Kind::Message(m) if m.full_name() == method.output().full_name()))
            .context("updates, so its request holds the resource that it answers")?;
        let Kind::Message(message) = resource.kind() else {
            bail!("the resource is no message")
        };
        let mut leaves = Vec::new();
        find_leaves(&message, "", "resource", None, &mut leaves)?;
        let fields = leaves
            .iter()
            .map(|leaf| {
                format!(
                    "Field {{ path: {:?}, behavior: Behavior::{} }},",
                    leaf.path, leaf.behavior
                )
            })
            .collect::<String>();
        let present = leaves
            .iter()
            .filter(|leaf| leaf.behavior == "Mutable")
            .map(|leaf| format!("if {} {{ present.push({:?}); }}\n", leaf.present, leaf.path))
            .collect::<String>();
        for path in texts(access, "client_paths") {
            if !leaves
                .iter()
                .any(|leaf| leaf.path == path && leaf.behavior == "Mutable")
            {
                bail!("its client_paths name {path}, which is no mutable field");
            }
        }
        let name = resource.name();
        write!(
            self.impls,
            "impl Update for {rust} {{ const FIELDS: &'static [Field] = &[{fields}]; const RESOURCE: &'static str = {name:?};
             fn update_mask(&self) -> Option<&prost_types::FieldMask> {{ self.update_mask.as_ref() }}
             fn present(&self) -> Vec<&'static str> {{ let Some(resource) = &self.{name} else {{ return Vec::new() }};
             let mut present = Vec::new(); {present} present }} }}\n"
        )?;
        Ok(())
    }

    fn rust(&self) -> String {
        let rows = self.table.iter().map(|(_, row)| row.as_str()).collect::<String>();
        format!(
            "/// Every method with its policy, by path.\npub static METHODS: &[Method] = &[{rows}];\n{}
             #[cfg(test)]\ntype Body = fn(&[u8]) -> Vec<u8>;\n#[cfg(test)]\npub(crate) static BODIES: &[(&str, Body)] = &[{}];\n",
            self.impls, self.bodies
        )
    }
}

/// The messages that are ours.
fn messages(pool: &DescriptorPool) -> impl Iterator<Item = MessageDescriptor> + '_ {
    pool.all_messages()
        .filter(|message| message.package_name().starts_with("clientele."))
}

/// A text that is named `password`, or so at its end.
fn is_password(field: &FieldDescriptor) -> bool {
    let name = field.name();
    matches!(field.kind(), Kind::String) && (name == "password" || name.ends_with("_password"))
}

/// A password, or a token that proves something. Those of pages prove nothing.
fn is_secret(field: &FieldDescriptor) -> bool {
    let name = field.name();
    let token = (name == "token" || name.ends_with("_token")) && !name.ends_with("page_token");
    is_password(field) || (matches!(field.kind(), Kind::String) && token)
}

fn has_secrets(message: &MessageDescriptor) -> bool {
    message.fields().any(|field| is_secret(&field))
}

/// The path of a password that is not a field of the message itself.
fn deep_password(message: &MessageDescriptor, depth: usize) -> Option<String> {
    message.fields().find_map(|field| match field.kind() {
        _ if depth > 0 && is_password(&field) => Some(field.full_name().to_owned()),
        Kind::Message(inner) if depth < 8 && inner.package_name().starts_with("clientele.") => {
            deep_password(&inner, depth + 1)
        }
        _ => None,
    })
}

/// A message with name, uid and version is a resource.
fn is_resource(message: &MessageDescriptor) -> bool {
    ["name", "uid", "version"]
        .iter()
        .all(|field| message.get_field_by_name(field).is_some())
}

/// Whether the name is this verb, or this verb and a noun.
fn is_verb(name: &str, verb: &str) -> bool {
    name.strip_prefix(verb)
        .is_some_and(|noun| noun.is_empty() || noun.starts_with(char::is_uppercase))
}

fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

struct NameField {
    field: String,
    patterns: Vec<String>,
    optional: bool,
}

fn read_names(access: &DynamicMessage) -> Vec<NameField> {
    let names = access.get_field_by_name("names");
    let list = names.as_deref().and_then(Value::as_list).unwrap_or_default();
    list.iter()
        .filter_map(Value::as_message)
        .map(|name| NameField {
            field: text(name, "field"),
            patterns: texts(name, "patterns"),
            optional: name
                .get_field_by_name("optional")
                .and_then(|value| value.as_bool())
                .unwrap_or_default(),
        })
        .collect()
}

fn table_row(method: &MethodDescriptor, access: &DynamicMessage, names: &[NameField]) -> Result<String> {
    let role = match access
        .get_field_by_name("role")
        .and_then(|role| role.as_enum_number())
        .unwrap_or_default()
    {
        0 => "None",
        1 => "Some(StaffRole::Member)",
        2 => "Some(StaffRole::Admin)",
        3 => "Some(StaffRole::Owner)",
        other => bail!("role {other} is unknown"),
    };
    let flag = |name| {
        access
            .get_field_by_name(name)
            .and_then(|value| value.as_bool())
            .unwrap_or_default()
    };
    let streams = method.is_server_streaming() || method.is_client_streaming();
    let deadline = match access
        .get_field_by_name("deadline_ms")
        .and_then(|value| value.as_u32())
        .unwrap_or_default()
    {
        ms if streams && ms > 0 => bail!("streams, so it has no deadline ({ms} ms)"),
        _ if streams => "None".to_owned(),
        ms => format!(
            "Some(std::time::Duration::from_millis({}))",
            if ms == 0 { 5000 } else { ms }
        ),
    };
    let names = names
        .iter()
        .map(|name| {
            format!(
                "Name {{ field: {:?}, patterns: &{:?}, optional: {} }},",
                name.field, name.patterns, name.optional
            )
        })
        .collect::<String>();
    Ok(format!(
        "Method {{ path: {:?}, names: &[{names}], role: {role}, permissions: &{:?}, client_paths: &{:?}, service: {}, public: {}, deadline: {deadline} }},\n",
        path(method),
        texts(access, "permissions"),
        texts(access, "client_paths"),
        flag("service"),
        flag("public"),
    ))
}

fn text(message: &DynamicMessage, field: &str) -> String {
    message
        .get_field_by_name(field)
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn texts(message: &DynamicMessage, field: &str) -> Vec<String> {
    let value = message.get_field_by_name(field);
    let list = value.as_deref().and_then(Value::as_list).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// How far a method reaches is said by the names that can't be left out, if there are any.
fn level(names: &[NameField]) -> &'static str {
    let sure = |name: &&NameField| !name.optional && name.patterns.len() == 1;
    if names
        .iter()
        .filter(sure)
        .any(|name| name.patterns[0].contains("/organizations/"))
    {
        "Organization"
    } else if names.is_empty() {
        "Platform"
    } else if names.iter().any(|name| sure(&name)) && names.iter().all(|name| name.optional || sure(&name)) {
        "Workspace"
    } else {
        "Any"
    }
}

/// Rust that reads the text field at a path, empty where a message on the way is absent.
fn string_accessor(request: &MessageDescriptor, path: &str) -> Result<String> {
    let steps: Vec<&str> = path.split('.').collect();
    let (last, way) = steps.split_last().context("the name has no field")?;
    let mut message = request.clone();
    let mut rust = "Some(self)".to_owned();
    for step in way {
        let field = message
            .get_field_by_name(step)
            .with_context(|| format!("{path} is no field"))?;
        let Kind::Message(inner) = field.kind() else {
            bail!("{step} of {path} is no message")
        };
        write!(rust, ".and_then(|message| message.{step}.as_ref())")?;
        message = inner;
    }
    let field = message
        .get_field_by_name(last)
        .with_context(|| format!("{path} is no field"))?;
    if !matches!(field.kind(), Kind::String) || field.is_list() || field.containing_oneof().is_some() {
        bail!("{path} is no plain text field");
    }
    Ok(format!("{rust}.map_or(\"\", |message| message.{last}.as_str())"))
}

struct Leaf {
    path: String,
    behavior: &'static str,
    present: String,
}

/// The leaves of a resource: sub-messages are walked through, except those of google.protobuf, maps, lists, and values.
fn find_leaves(
    message: &MessageDescriptor,
    prefix: &str,
    rust: &str,
    above: Option<&'static str>,
    leaves: &mut Vec<Leaf>,
) -> Result<()> {
    for field in message.fields() {
        let path = if prefix.is_empty() {
            field.name().to_owned()
        } else {
            format!("{prefix}.{}", field.name())
        };
        let own = behavior(&field)?;
        let behavior = match above {
            Some(above) if own == "Mutable" => above,
            _ => own,
        };
        let value = format!("{rust}.{}", field.name());
        match field.kind() {
            Kind::Message(inner)
                if !field.is_list()
                    && !field.is_map()
                    && !inner.full_name().starts_with("google.protobuf.")
                    && !is_value(&inner) =>
            {
                let inner_name = format!("{}_{}", rust.replace('.', "_"), field.name());
                let mut inside = Vec::new();
                find_leaves(&inner, &path, &inner_name, Some(behavior), &mut inside)?;
                for leaf in inside {
                    let present = format!("{value}.as_ref().is_some_and(|{inner_name}| {})", leaf.present);
                    leaves.push(Leaf { present, ..leaf });
                }
            }
            _ => {
                if behavior == "Mutable" && !field.supports_presence() && !field.is_list() && !field.is_map() {
                    bail!(
                        "{} is mutable, so it must be optional: absent is not the zero value",
                        field.full_name()
                    );
                }
                leaves.push(Leaf {
                    present: is_present(&field, &value),
                    path,
                    behavior,
                });
            }
        }
    }
    Ok(())
}

/// A message in which absent can't be told from empty is changed as a whole.
fn is_value(message: &MessageDescriptor) -> bool {
    message.fields().all(|field| !field.supports_presence())
}

/// Rust that clears the times of a message and of those in it.
fn find_times(message: &MessageDescriptor, rust: &str, clear: &mut String) -> Result<()> {
    for field in message.fields().filter(|field| !field.is_list() && !field.is_map()) {
        let Kind::Message(inner) = field.kind() else { continue };
        let name = field.name();
        if inner.full_name() == "google.protobuf.Timestamp" {
            write!(clear, "{rust}.{name} = None;")?;
        } else if inner.package_name().starts_with("clientele.") {
            let mut inside = String::new();
            find_times(&inner, name, &mut inside)?;
            if !inside.is_empty() {
                write!(clear, "if let Some({name}) = &mut {rust}.{name} {{ {inside} }}")?;
            }
        }
    }
    Ok(())
}

fn is_present(field: &FieldDescriptor, value: &str) -> String {
    if field.is_list() || field.is_map() {
        format!("!{value}.is_empty()")
    } else {
        format!("{value}.is_some()")
    }
}

fn behavior(field: &FieldDescriptor) -> Result<&'static str> {
    if field.name() == "etag" {
        return Ok("Identifier");
    }
    let options = field.options();
    let extension = field
        .parent_pool()
        .get_extension_by_name("google.api.field_behavior")
        .context("field_behavior is not imported")?;
    let values = options.get_extension(&extension);
    let numbers: Vec<i32> = values
        .as_list()
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_enum_number)
        .collect();
    Ok(if numbers.contains(&3) {
        "OutputOnly"
    } else if numbers.contains(&5) || numbers.contains(&8) {
        "Identifier"
    } else {
        "Mutable"
    })
}

/// The generated type: `clientele.org.v1.Organization` is `crate::org::Organization`.
fn rust_path(message: &MessageDescriptor) -> String {
    let package = message.package_name();
    let module = package.trim_start_matches("clientele.").trim_end_matches(".v1");
    format!("crate::{module}::{}", message.name())
}
