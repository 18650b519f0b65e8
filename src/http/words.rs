//! The words of the pages customers see, in the languages we speak; the browser says which it wants.

use actix_web::HttpRequest;
use actix_web::http::header::ACCEPT_LANGUAGE;

use crate::message::Channel;

/// One language. `{}` stands for what is talked about.
#[derive(Debug)]
pub(super) struct Words {
    /// ISO 639-1.
    pub lang: &'static str,
    pub unsubscribe: &'static str,
    pub unsubscribed: &'static str,
    /// `{}` is a channel.
    pub no_more: &'static str,
    /// `{}` is a topic.
    pub only_topic: &'static str,
    pub no_more_topic: &'static str,
    pub choose: &'static str,
    pub preferences: &'static str,
    pub channels: &'static str,
    pub topics: &'static str,
    pub save: &'static str,
    pub saved: &'static str,
    pub saved_text: &'static str,
    pub from_all: &'static str,
    pub orders_stay: &'static str,
    pub confirm: &'static str,
    pub confirm_text: &'static str,
    pub confirmed: &'static str,
    pub confirmed_text: &'static str,
    pub over: &'static str,
    pub over_text: &'static str,
    pub broken: &'static str,
    pub broken_text: &'static str,
    pub gone_text: &'static str,
    pub not_yet: &'static str,
    pub not_yet_text: &'static str,
    /// A form that could not be read, why, and what to do.
    pub unchanged: &'static str,
    pub again: &'static str,
    pub too_large: &'static str,
    pub too_slow: &'static str,
    pub no_form: &'static str,
    pub garbled: &'static str,
    /// In the order of [`Channel::ALL`].
    names: [&'static str; 5],
}

impl Words {
    pub fn name(&self, channel: Channel) -> &'static str {
        let [email, sms, push, whatsapp, webhook] = self.names;
        match channel {
            Channel::Email => email,
            Channel::Sms => sms,
            Channel::Push => push,
            Channel::Whatsapp => whatsapp,
            Channel::Webhook => webhook,
        }
    }

    /// The first language of `Accept-Language` that we speak, else English.
    pub fn of(request: &HttpRequest) -> &'static Self {
        let header = request.headers().get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let wanted = header.split(',').take(20).map(|part| part.split([';', '-']).next().unwrap_or("").trim());
        let spoken = |tag: &str| {
            [&ENGLISH, &GERMAN, &FRENCH, &SPANISH].into_iter().find(|one| one.lang.eq_ignore_ascii_case(tag))
        };
        wanted.filter_map(spoken).next().unwrap_or(&ENGLISH)
    }
}

pub(super) static ENGLISH: Words = Words {
    lang: "en",
    unsubscribe: "Unsubscribe",
    unsubscribed: "Unsubscribed",
    no_more: "You will get no more {} from this sender, except what belongs to your orders and your account.",
    only_topic: "Only from “{}”",
    no_more_topic: "You will get no more messages about “{}”.",
    choose: "Choose what you get",
    preferences: "Your preferences",
    channels: "How we may write to you",
    topics: "What about",
    save: "Save",
    saved: "Saved",
    saved_text: "Your choices are stored.",
    from_all: "Unsubscribe from all",
    orders_stay: "What belongs to your orders and your account comes in any case.",
    confirm: "Confirm your subscription",
    confirm_text: "Please confirm that you want to get {} from this sender.",
    confirmed: "Confirmed",
    confirmed_text: "Thank you. You will get {} from this sender.",
    over: "This confirmation is over",
    over_text: "It was too long ago, or you have answered otherwise since. Please sign up again.",
    broken: "This link does not work",
    broken_text: "It may have been cut off by a mail program. Please use the link in the message itself.",
    gone_text: "It belongs to data that was erased. To stop newer messages, please use the link in one of them.",
    not_yet: "Not yet",
    not_yet_text: "This could not be stored just now. Please try again in a minute.",
    unchanged: "Nothing was changed",
    again: "Open the page again and press the button there.",
    too_large: "What was sent is larger than a form of this page.",
    too_slow: "What was sent did not arrive in time.",
    no_form: "What was sent is not a form of this page.",
    garbled: "What was sent is broken: its letters cannot be read.",
    names: ["e-mail", "text messages", "notifications", "WhatsApp messages", "messages"],
};

static GERMAN: Words = Words {
    lang: "de",
    unsubscribe: "Abmelden",
    unsubscribed: "Abgemeldet",
    no_more: "Sie erhalten keine {} mehr von diesem Absender, außer zu Ihren Bestellungen und Ihrem Konto.",
    only_topic: "Nur von „{}“",
    no_more_topic: "Sie erhalten keine Nachrichten mehr zu „{}“.",
    choose: "Auswählen, was Sie erhalten",
    preferences: "Ihre Einstellungen",
    channels: "Wie wir Ihnen schreiben dürfen",
    topics: "Worüber",
    save: "Speichern",
    saved: "Gespeichert",
    saved_text: "Ihre Auswahl ist gespeichert.",
    from_all: "Von allem abmelden",
    orders_stay: "Nachrichten zu Ihren Bestellungen und Ihrem Konto kommen in jedem Fall.",
    confirm: "Anmeldung bestätigen",
    confirm_text: "Bitte bestätigen Sie, dass Sie {} von diesem Absender erhalten möchten.",
    confirmed: "Bestätigt",
    confirmed_text: "Vielen Dank. Sie erhalten {} von diesem Absender.",
    over: "Diese Bestätigung ist abgelaufen",
    over_text: "Sie ist zu lange her, oder Sie haben seither anders geantwortet. Bitte melden Sie sich erneut an.",
    broken: "Dieser Link funktioniert nicht",
    broken_text: "Vielleicht wurde er abgeschnitten. Bitte verwenden Sie den Link in der Nachricht selbst.",
    gone_text: "Er gehört zu Daten, die gelöscht wurden. Um neuere Nachrichten abzubestellen, verwenden Sie bitte deren Link.",
    not_yet: "Noch nicht",
    not_yet_text: "Das konnte gerade nicht gespeichert werden. Bitte versuchen Sie es in einer Minute noch einmal.",
    unchanged: "Es wurde nichts geändert",
    again: "Bitte öffnen Sie die Seite noch einmal und drücken Sie dort auf den Knopf.",
    too_large: "Was gesendet wurde, ist größer als ein Formular dieser Seite.",
    too_slow: "Was gesendet wurde, kam nicht rechtzeitig an.",
    no_form: "Was gesendet wurde, ist kein Formular dieser Seite.",
    garbled: "Was gesendet wurde, ist beschädigt: seine Zeichen sind nicht lesbar.",
    names: ["E-Mails", "SMS", "Mitteilungen", "WhatsApp-Nachrichten", "Nachrichten"],
};

static FRENCH: Words = Words {
    lang: "fr",
    unsubscribe: "Se désabonner",
    unsubscribed: "Désabonnement effectué",
    no_more: "Vous ne recevrez plus de {} de cet expéditeur, sauf pour vos commandes et votre compte.",
    only_topic: "Seulement de « {} »",
    no_more_topic: "Vous ne recevrez plus de messages au sujet de « {} ».",
    choose: "Choisir ce que vous recevez",
    preferences: "Vos préférences",
    channels: "Comment nous pouvons vous écrire",
    topics: "À quel sujet",
    save: "Enregistrer",
    saved: "Enregistré",
    saved_text: "Vos choix sont enregistrés.",
    from_all: "Se désabonner de tout",
    orders_stay: "Ce qui concerne vos commandes et votre compte vous parviendra toujours.",
    confirm: "Confirmer votre abonnement",
    confirm_text: "Confirmez que vous souhaitez recevoir des {} de cet expéditeur.",
    confirmed: "Confirmé",
    confirmed_text: "Merci. Vous recevrez des {} de cet expéditeur.",
    over: "Cette confirmation a expiré",
    over_text: "Elle est trop ancienne, ou vous avez répondu autrement depuis. Veuillez vous inscrire à nouveau.",
    broken: "Ce lien ne fonctionne pas",
    broken_text: "Il a peut-être été coupé. Utilisez le lien du message lui-même.",
    gone_text: "Il appartient à des données effacées. Pour arrêter des messages plus récents, utilisez le lien de l’un d’eux.",
    not_yet: "Pas encore",
    not_yet_text: "Ceci n’a pas pu être enregistré. Veuillez réessayer dans une minute.",
    unchanged: "Rien n’a été modifié",
    again: "Ouvrez la page à nouveau et appuyez sur le bouton.",
    too_large: "Ce qui a été envoyé est plus grand qu’un formulaire de cette page.",
    too_slow: "Ce qui a été envoyé n’est pas arrivé à temps.",
    no_form: "Ce qui a été envoyé n’est pas un formulaire de cette page.",
    garbled: "Ce qui a été envoyé est abîmé : ses caractères sont illisibles.",
    names: ["e-mails", "SMS", "notifications", "messages WhatsApp", "messages"],
};

static SPANISH: Words = Words {
    lang: "es",
    unsubscribe: "Darse de baja",
    unsubscribed: "Baja confirmada",
    no_more: "No recibirá más {} de este remitente, salvo lo relativo a sus pedidos y su cuenta.",
    only_topic: "Solo de «{}»",
    no_more_topic: "No recibirá más mensajes sobre «{}».",
    choose: "Elegir qué recibe",
    preferences: "Sus preferencias",
    channels: "Cómo podemos escribirle",
    topics: "Sobre qué",
    save: "Guardar",
    saved: "Guardado",
    saved_text: "Sus preferencias están guardadas.",
    from_all: "Darse de baja de todo",
    orders_stay: "Lo relativo a sus pedidos y su cuenta llegará en todo caso.",
    confirm: "Confirmar su suscripción",
    confirm_text: "Confirme que desea recibir {} de este remitente.",
    confirmed: "Confirmado",
    confirmed_text: "Gracias. Recibirá {} de este remitente.",
    over: "Esta confirmación ha caducado",
    over_text: "Fue hace demasiado tiempo, o ha respondido otra cosa desde entonces. Suscríbase de nuevo.",
    broken: "Este enlace no funciona",
    broken_text: "Puede que se haya cortado. Use el enlace del propio mensaje.",
    gone_text: "Pertenece a datos que se han borrado. Para no recibir mensajes más recientes, use el enlace de uno de ellos.",
    not_yet: "Todavía no",
    not_yet_text: "No se ha podido guardar. Inténtelo de nuevo en un minuto.",
    unchanged: "No se ha cambiado nada",
    again: "Abra la página de nuevo y pulse el botón.",
    too_large: "Lo enviado es mayor que un formulario de esta página.",
    too_slow: "Lo enviado no llegó a tiempo.",
    no_form: "Lo enviado no es un formulario de esta página.",
    garbled: "Lo enviado está dañado: sus caracteres no se pueden leer.",
    names: ["correos electrónicos", "SMS", "notificaciones", "mensajes de WhatsApp", "mensajes"],
};

/// A phrase with what it is about; as text, not yet for HTML.
pub(super) fn about(phrase: &str, what: &str) -> String {
    phrase.replace("{}", what)
}
