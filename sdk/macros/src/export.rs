//! `#[worker]` and `#[verifier]`: one function is the one export.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{FnArg, ItemFn, ReturnType, Type};

/// A world with one exported function.
pub struct World {
    /// Name of the attribute, of the world's module and the tail of its export macro.
    name: &'static str,
    /// The exported function.
    export: &'static str,
    /// Type of its one argument, in `::jidoka`.
    input: &'static str,
    /// Type of its `Ok`, in `::jidoka`.
    output: &'static str,
}

pub const WORKER: World = World { name: "worker", export: "run", input: "Task", output: "Report" };

pub const VERIFIER: World = World { name: "verifier", export: "judge", input: "Artifact", output: "Judgement" };

pub fn expand(world: &World, arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function = match parse(world, arguments, item.clone()) {
        Ok(function) => function,
        // The item stays, so that one mistake is told as one.
        Err(error) => {
            let error = error.to_compile_error();
            return quote!(#error #item);
        }
    };
    let name = &function.sig.ident;
    let module = format_ident!("{}", world.name);
    let export = format_ident!("{}", world.export);
    let export_macro = format_ident!("export_{}", world.name);
    let input = format_ident!("{}", world.input);
    let output = format_ident!("{}", world.output);
    // Each half is checked at its own place, so that the compiler points at the type that is wrong.
    let (given, returned) = types(&function);
    let check_input = quote_spanned! { given.span() => let _: #given = input; };
    let check_output = quote_spanned! { returned.span() =>
        let _: ::core::result::Result<::jidoka::#output, ::jidoka::Error> = output;
    };
    quote! {
        #function

        const _: () = {
            fn check(input: ::jidoka::#input, output: #returned) {
                #check_input
                #check_output
                let _ = #name;
            }
            let _ = check;
        };

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Component;

            impl ::jidoka::bindings::#module::Guest for Component {
                fn #export(
                    input: ::jidoka::#input,
                ) -> ::core::result::Result<::jidoka::#output, ::std::string::String> {
                    #name(input).map_err(|error| error.to_string())
                }
            }

            ::jidoka::bindings::#module::#export_macro!(
                Component with_types_in ::jidoka::bindings::#module
            );
        };
    }
}

fn parse(world: &World, arguments: TokenStream, item: TokenStream) -> syn::Result<ItemFn> {
    if !arguments.is_empty() {
        return Err(syn::Error::new(arguments.span(), format!("#[jidoka::{}] takes no arguments", world.name)));
    }
    let wanted = wanted(world);
    let function: ItemFn =
        syn::parse2(item.clone()).map_err(|_| syn::Error::new(item.span(), format!("expected {wanted}")))?;
    plain(&function, &wanted)?;
    Ok(function)
}

fn wanted(world: &World) -> String {
    format!("`fn {}({}: {}) -> Result<{}, Error>`", world.export, world.input.to_lowercase(), world.input, world.output)
}

/// The types of the one argument and of the result, which `plain` has found to be there.
fn types(function: &ItemFn) -> (Type, Type) {
    let given = match function.sig.inputs.first() {
        Some(FnArg::Typed(argument)) => argument.ty.as_ref().clone(),
        Some(FnArg::Receiver(_)) | None => Type::Verbatim(TokenStream::new()),
    };
    let returned = match &function.sig.output {
        ReturnType::Type(_, returned) => returned.as_ref().clone(),
        ReturnType::Default => Type::Verbatim(TokenStream::new()),
    };
    (given, returned)
}

/// A function that can be taken as a plain `fn` pointer of one argument; its types are checked by the compiler.
pub fn plain(function: &ItemFn, wanted: &str) -> syn::Result<()> {
    let signature = &function.sig;
    let wrong =
        |spanned: &dyn Spanned, what: &str| Err(syn::Error::new(spanned.span(), format!("{what}; expected {wanted}")));
    if let Some(token) = &signature.asyncness {
        return wrong(token, "this cannot be async: imports are synchronous");
    }
    if let Some(token) = &signature.unsafety {
        return wrong(token, "this cannot be unsafe");
    }
    if let Some(abi) = &signature.abi {
        return wrong(abi, "this cannot have an ABI of its own");
    }
    if !signature.generics.params.is_empty() {
        return wrong(&signature.generics, "this cannot be generic");
    }
    let one = signature.inputs.len() == 1 && signature.receiver().is_none();
    if !one || signature.variadic.is_some() {
        return wrong(signature, "this must take exactly one argument");
    }
    if matches!(signature.output, ReturnType::Default) {
        return wrong(signature, "this must return a result");
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::err_expect, reason = "the parsed form has no Debug")]
mod tests {
    use super::*;

    fn told(item: TokenStream) -> String {
        parse(&WORKER, TokenStream::new(), item).err().expect("a wrong signature").to_string()
    }

    #[test]
    fn a_wrong_signature_is_told_with_the_right_one() {
        let right = "expected `fn run(task: Task) -> Result<Report, Error>`";
        for (item, wrong) in [
            (
                quote!(
                    struct Worker;
                ),
                "",
            ),
            (
                quote!(
                    fn run() -> Result<Report> {}
                ),
                "this must take exactly one argument; ",
            ),
            (
                quote!(
                    fn run(&self) -> Result<Report> {}
                ),
                "this must take exactly one argument; ",
            ),
            (
                quote!(
                    fn run(a: Task, b: Task) -> Result<Report> {}
                ),
                "this must take exactly one argument; ",
            ),
            (
                quote!(
                    fn run(task: Task) {}
                ),
                "this must return a result; ",
            ),
            (
                quote!(
                    fn run<T>(task: T) -> Result<Report> {}
                ),
                "this cannot be generic; ",
            ),
            (
                quote!(
                    async fn run(task: Task) -> Result<Report> {}
                ),
                "this cannot be async: imports are synchronous; ",
            ),
            (
                quote!(
                    unsafe fn run(task: Task) -> Result<Report> {}
                ),
                "this cannot be unsafe; ",
            ),
            (
                quote!(
                    extern "C" fn run(task: Task) -> Result<Report> {}
                ),
                "this cannot have an ABI of its own; ",
            ),
        ] {
            assert_eq!(told(item), format!("{wrong}{right}"));
        }
    }

    #[test]
    fn arguments_of_the_attribute_are_refused() {
        let item = quote!(
            fn run(task: Task) -> Result<Report> {}
        );
        let error = parse(&WORKER, quote!(name = "x"), item).err().expect("arguments");
        assert_eq!(error.to_string(), "#[jidoka::worker] takes no arguments");
    }
}
