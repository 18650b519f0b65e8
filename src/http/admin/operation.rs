//! One thing that can be asked of the controls: its route, the scope it needs and its documentation in one place, so
//! that what is served, what is allowed and what is documented cannot differ.

use std::collections::BTreeMap;

use actix_web::http::Method;
use actix_web::web::{self, Payload, ServiceConfig};
use actix_web::{FromRequest, Handler, Resource, Responder, Route};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{RefOr, Required, Schema, schema};
use utoipa::{IntoParams, ToSchema};

use super::body;
use crate::http::problem::Problem;
use crate::http::scope::Scope;

/// Schemas by name.
pub type Schemas = Vec<(String, RefOr<Schema>)>;

/// A schema, and those it speaks of.
pub struct Described {
    pub schema: RefOr<Schema>,
    pub named: Schemas,
}

impl Described {
    pub fn of<T: ToSchema>() -> Self {
        let name = T::name().into_owned();
        let mut named = vec![(name.clone(), T::schema())];
        T::schemas(&mut named);
        Self { schema: utoipa::openapi::Ref::from_schema_name(name).into(), named }
    }
}

/// What an operation answers when it does what was asked.
pub enum Answers {
    Json(Box<Described>),
    /// Another media type, in words.
    Text(&'static str, &'static str),
}

impl Answers {
    pub fn described(&self) -> Option<&Described> {
        match self {
            Self::Json(described) => Some(described),
            Self::Text(..) => None,
        }
    }
}

pub struct Operation {
    pub method: Method,
    /// Below `/api/v1`.
    pub path: &'static str,
    pub scope: Scope,
    pub id: &'static str,
    pub summary: &'static str,
    pub parameters: Vec<Parameter>,
    pub takes: Option<Described>,
    /// Its body is a file, of which its handler keeps no more than a piece in memory.
    pub takes_file: bool,
    pub answers: Vec<Answers>,
    /// Of an answer that is no problem.
    pub success: u16,
    /// Statuses of problems beyond those that every operation of its kind may answer.
    pub statuses: Vec<u16>,
    /// Asked for without a token by whoever sees the pages.
    pub is_open_here: bool,
    route: Route,
}

fn operation<F, Args>(method: Method, path: &'static str, scope: Scope, answer: F) -> Operation
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let in_path = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameters = in_path.map(|name| {
        let text = schema::Object::with_type(schema::Type::String);
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(text))
            .build()
    });
    Operation {
        route: web::method(method.clone()).to(answer),
        parameters: parameters.collect(),
        method,
        path,
        scope,
        id: "",
        summary: "",
        takes: None,
        takes_file: false,
        answers: Vec::new(),
        success: 200,
        statuses: Vec::new(),
        is_open_here: false,
    }
}

/// Answered with GET.
pub fn read<F, Args>(path: &'static str, scope: Scope, answer: F) -> Operation
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    operation(Method::GET, path, scope, answer)
}

/// Answered with POST.
pub fn write<F, Args>(path: &'static str, scope: Scope, answer: F) -> Operation
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    operation(Method::POST, path, scope, answer)
}

/// Answered with DELETE.
pub fn remove<F, Args>(path: &'static str, scope: Scope, answer: F) -> Operation
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    operation(Method::DELETE, path, scope, answer)
}

impl Operation {
    /// Its name for programs, and what it is for in one sentence.
    pub fn says(self, id: &'static str, summary: &'static str) -> Self {
        Self { id, summary, ..self }
    }

    /// The query it takes; anything else in one is refused.
    pub fn query<T: IntoParams>(mut self) -> Self {
        self.parameters.extend(T::into_params(|| Some(ParameterIn::Query)));
        self
    }

    /// The JSON it takes.
    pub fn takes<T: ToSchema>(self) -> Self {
        Self { takes: Some(Described::of::<T>()), ..self }
    }

    /// A file of any kind, streamed.
    pub fn takes_file(self) -> Self {
        Self { takes_file: true, ..self }
    }

    /// What was asked is done later: 202.
    pub fn accepts(self) -> Self {
        Self { success: 202, ..self }
    }

    pub fn answers<T: ToSchema>(mut self) -> Self {
        self.answers.push(Answers::Json(Box::new(Described::of::<T>())));
        self
    }

    pub fn answers_text(mut self, media_type: &'static str, says: &'static str) -> Self {
        self.answers.push(Answers::Text(media_type, says));
        self
    }

    /// May answer problems of these statuses too.
    pub fn may(mut self, statuses: &[u16]) -> Self {
        self.statuses.extend(statuses);
        self
    }

    /// Answered without a token to whoever sees the pages.
    pub fn open_here(self) -> Self {
        Self { is_open_here: true, ..self }
    }

    pub fn is_write(&self) -> bool {
        self.method != Method::GET
    }

    fn is_in_query(parameter: &Parameter) -> bool {
        matches!(parameter.parameter_in, ParameterIn::Query)
    }
}

/// What is asked of a caller before an operation is reached.
pub struct Rule {
    pub scope: Scope,
    /// Names its query may hold.
    pub query: Vec<String>,
    /// Nobody but its handler may read the body.
    pub takes_file: bool,
}

/// The rules of all operations, by path pattern and method.
#[derive(Default)]
pub struct Rules(BTreeMap<(String, String), Rule>);

impl Rules {
    pub fn of(operations: &[Operation]) -> Self {
        let rules = operations.iter().map(|one| {
            let in_query = one.parameters.iter().filter(|parameter| Operation::is_in_query(parameter));
            let query = in_query.map(|parameter| parameter.name.clone()).collect();
            (
                (format!("/api/v1{}", one.path), one.method.to_string()),
                Rule { scope: one.scope, query, takes_file: one.takes_file },
            )
        });
        Self(rules.collect())
    }

    pub fn find(&self, pattern: &str, method: &Method) -> Option<&Rule> {
        self.0.get(&(pattern.to_owned(), method.to_string()))
    }
}

/// The parts of a path, each with whether it stands for any: a name in full is found before one that does.
type Order = Vec<(bool, String)>;
type Routes = Vec<(Method, Route)>;

/// Adds a resource for each path, with all its methods; every other method is told which.
pub fn serve(app: &mut ServiceConfig, operations: Vec<Operation>) {
    let mut by_path: BTreeMap<Order, (&'static str, Routes)> = BTreeMap::new();
    for Operation { path, method, route, .. } in operations {
        let order = path.split('/').map(|part| (part.starts_with('{'), part.to_owned())).collect();
        by_path.entry(order).or_insert_with(|| (path, Vec::new())).1.push((method, route));
    }
    for (path, routes) in by_path.into_values() {
        app.service(resource(path, routes));
    }
}

fn resource(path: &str, routes: Routes) -> Resource {
    let mut methods: Vec<&str> = routes.iter().map(|(method, _)| method.as_str()).collect();
    methods.sort_by_key(|method| ["GET", "POST", "DELETE"].iter().position(|known| known == method));
    let allow = methods.join(", ");
    let other = move |payload: Payload| {
        let problem = Problem::MethodNotAllowed { allow: allow.clone().into() };
        async move { body::refused(problem, payload) }
    };
    let resource = routes.into_iter().fold(web::resource(path), |resource, (_, route)| resource.route(route));
    resource.default_service(web::to(other))
}
