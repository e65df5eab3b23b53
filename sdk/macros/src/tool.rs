//! `#[tool]`: functions by name, behind `describe` and `call`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::{Attribute, Expr, ExprLit, Item, ItemFn, ItemMod, Lit, LitStr, Meta, Visibility};

use crate::export::plain;

const WANTED: &str = "`fn NAME(input: Value) -> Result<Value, Error>`";

/// Schema of a tool that does not say: any object.
const ANY_OBJECT: &str = r#"{"type":"object"}"#;

/// One function that is a tool.
struct Tool {
    name: String,
    description: String,
    schema: LitStr,
    /// Path of the function from where the attribute stands.
    path: TokenStream,
    check: TokenStream,
}

pub fn expand(arguments: TokenStream, item: TokenStream) -> TokenStream {
    match expand_item(arguments, item.clone()) {
        Ok(tokens) => tokens,
        Err(error) => {
            let error = error.to_compile_error();
            // A function stays, so that one mistake is told as one. A module has attributes that only this macro knows.
            let kept = syn::parse2::<ItemFn>(item).ok();
            quote!(#error #kept)
        }
    }
}

fn expand_item(arguments: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    match syn::parse2(item.clone()) {
        Ok(Item::Fn(function)) => {
            let schema = schema_argument(arguments)?;
            let name = &function.sig.ident;
            let tool = tool(&function, quote!(#name), schema)?;
            Ok(assemble(&quote!(#function), &[tool]))
        }
        Ok(Item::Mod(module)) => {
            if !arguments.is_empty() {
                return Err(syn::Error::new(
                    arguments.span(),
                    "on a module the schema stands at each function: #[schema(\"..\")]",
                ));
            }
            let (module, tools) = tools_of(module)?;
            Ok(assemble(&quote!(#module), &tools))
        }
        _ => Err(syn::Error::new(item.span(), format!("expected {WANTED}, or a module of such `pub` functions"))),
    }
}

fn tools_of(mut module: ItemMod) -> syn::Result<(ItemMod, Vec<Tool>)> {
    let module_name = module.ident.clone();
    let Some((_, items)) = &mut module.content else {
        return Err(syn::Error::new(module.span(), "the module must have its body here: `mod tools { .. }`"));
    };
    let mut tools = Vec::new();
    for item in items {
        let Item::Fn(function) = item else { continue };
        if !matches!(function.vis, Visibility::Public(_)) {
            continue;
        }
        let schema = take_schema(&mut function.attrs)?;
        let name = &function.sig.ident;
        tools.push(tool(function, quote!(#module_name::#name), schema)?);
    }
    if tools.is_empty() {
        return Err(syn::Error::new(module_name.span(), format!("the module has no tool; a tool is a `pub` {WANTED}")));
    }
    Ok((module, tools))
}

fn tool(function: &ItemFn, path: TokenStream, schema: Option<LitStr>) -> syn::Result<Tool> {
    plain(function, WANTED)?;
    let span = function.sig.span();
    let description = documentation(&function.attrs);
    if description.is_empty() {
        return Err(syn::Error::new(span, "a tool needs documentation (`///`): it is what the model reads"));
    }
    let check = quote_spanned! { span =>
        const _: () = {
            fn check() {
                ::jidoka::__tool::is_tool(#path);
            }
            let _ = check;
        };
    };
    Ok(Tool {
        name: function.sig.ident.to_string(),
        description,
        schema: schema.unwrap_or_else(|| LitStr::new(ANY_OBJECT, span)),
        path,
        check,
    })
}

fn assemble(item: &TokenStream, tools: &[Tool]) -> TokenStream {
    let names: Vec<_> = tools.iter().map(|tool| &tool.name).collect();
    let descriptions = tools.iter().map(|tool| &tool.description);
    let schemas = tools.iter().map(|tool| &tool.schema);
    let paths = tools.iter().map(|tool| &tool.path);
    let checks = tools.iter().map(|tool| &tool.check);
    quote! {
        #item

        #(#checks)*

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Component;

            impl ::jidoka::bindings::tool::Guest for Component {
                fn describe() -> ::std::vec::Vec<::jidoka::bindings::tool::Described> {
                    ::std::vec![#(::jidoka::__tool::describe(#names, #descriptions, #schemas)),*]
                }

                fn call(
                    name: ::std::string::String,
                    input: ::std::string::String,
                ) -> ::core::result::Result<::jidoka::bindings::tool::Output, ::std::string::String> {
                    match name.as_str() {
                        #(#names => ::jidoka::__tool::call(#paths, &input),)*
                        _ => ::jidoka::__tool::unknown(&name, &[#(#names),*]),
                    }
                }
            }

            ::jidoka::bindings::tool::export_tool!(
                Component with_types_in ::jidoka::bindings::tool
            );
        };
    }
}

/// `schema = ".."` of `#[tool(..)]`.
fn schema_argument(arguments: TokenStream) -> syn::Result<Option<LitStr>> {
    if arguments.is_empty() {
        return Ok(None);
    }
    let wrong = "expected `schema = \"..\"`";
    let span = arguments.span();
    match syn::parse2::<Meta>(arguments) {
        Ok(Meta::NameValue(pair)) if pair.path.is_ident("schema") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(Some(text.clone())),
            other => Err(syn::Error::new(other.span(), wrong)),
        },
        _ => Err(syn::Error::new(span, wrong)),
    }
}

/// Takes `#[schema("..")]` off a function of a module, since no other attribute of that name exists.
fn take_schema(attributes: &mut Vec<Attribute>) -> syn::Result<Option<LitStr>> {
    let Some(index) = attributes.iter().position(|attribute| attribute.path().is_ident("schema")) else {
        return Ok(None);
    };
    let attribute = attributes.remove(index);
    match attribute.meta {
        Meta::List(list) => {
            let text = |input: syn::parse::ParseStream<'_>| input.parse::<LitStr>();
            text.parse2(list.tokens).map(Some)
        }
        other => Err(syn::Error::new(other.span(), "expected `#[schema(\"..\")]`")),
    }
}

fn documentation(attributes: &[Attribute]) -> String {
    let lines: Vec<String> = attributes
        .iter()
        .filter_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
                Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        })
        .collect();
    lines.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(arguments: TokenStream, item: TokenStream) -> String {
        expand_item(arguments, item).expect_err("a wrong tool").to_string()
    }

    #[test]
    fn what_is_no_tool_is_told() {
        let none = TokenStream::new;
        let function = quote!(
            /// Does.
            fn go(input: Value) -> Result<Value> {}
        );
        assert!(
            told(
                none(),
                quote!(
                    fn go(input: Value) -> Result<Value> {}
                )
            )
            .contains("documentation")
        );
        assert!(
            told(
                none(),
                quote!(
                    struct Tool;
                )
            )
            .starts_with("expected `fn NAME")
        );
        assert!(told(quote!(scheme = "{}"), function.clone()).contains("schema"));
        assert!(told(quote!(schema = "{}"), quote!(mod tools { #function })).contains("at each function"));
        assert!(told(none(), quote!(mod tools { #function })).contains("has no tool"));
        assert!(
            told(
                none(),
                quote!(
                    mod tools;
                )
            )
            .contains("its body")
        );
    }

    #[test]
    fn documentation_becomes_the_description() {
        let item: ItemFn = syn::parse_quote! {
            /// Counts words.
            ///
            /// Of a text.
            fn count(input: Value) -> Result<Value> {}
        };
        assert_eq!(documentation(&item.attrs), "Counts words.\n\nOf a text.");
    }
}
