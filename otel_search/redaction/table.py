"""What is a secret, as data: by the name that a value has, and by what it looks like.

Everything else reads this table: the redactor, its tests, and the Collector's configuration. A row
has a guard, which is a text that stands in everything that the row can match: where no guard is
found nothing else is looked at, and that is nearly always.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Key:
    """Names whose values are hidden, in lower case with `_` between words.

    Attributes:
        kind: What the marker says.
        guards: One of them is in whatever has one of the `names` or `endings`; of one with several words, all words.
        example: A name and value, as in a log message.
        harmless: A text that is left alone.
        names: Names as they are.
        endings: A name that ends like this after another word counts, too: `stripe_api_key`.
        in_urls: Names that count in URLs only: elsewhere they have another meaning.
        of_many: Names that count for lists and mappings only: `cookies` may be their number.
        personal: Whether it is no secret but personal data.
    """

    kind: str
    guards: tuple[str, ...]
    example: tuple[str, str]
    harmless: str
    names: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()
    in_urls: tuple[str, ...] = ()
    of_many: tuple[str, ...] = ()
    personal: bool = False


@dataclass(frozen=True)
class Shape:
    """A secret that is known by its looks.

    Attributes:
        name: Whose it is.
        kind: What the marker says.
        guards: One of them stands in whatever `secret` matches.
        secret: What is hidden, as a regular expression.
        example: A secret that is none.
        harmless: A text that looks alike and is left alone.
        before: What stands before it and stays.
        after: What stands after it and stays.
        any_case: Whether the guards are looked for in the text in lower case.
        check: What the looks leave open, see `shapes.py`.
        re2: The same for the Collector, where Go's regular expressions cannot say `secret`: rather more.
        personal: Whether it is no secret but personal data.
    """

    name: str
    kind: str
    guards: tuple[str, ...]
    secret: str
    example: str
    harmless: str
    before: str = ""
    after: str = ""
    any_case: bool = False
    check: str = ""
    re2: str = ""
    personal: bool = False


KEYS = (
    Key(
        "password",
        ("pass", "pwd"),
        ("db_password", "hunter2"),
        "12 passengers=4",
        names=(
            "admin_pass",
            "auth_pass",
            "db_pass",
            "elastic_pass",
            "http_pass",
            "mysql_pass",
            "pass",
            "passcode",
            "passphrase",
            "passwd",
            "password",
            "password1",
            "password2",
            "password_confirm",
            "password_confirmation",
            "password_hash",
            "password_repeat",
            "pgpassword",
            "pwd",
            "redis_pass",
            "smtp_pass",
            "user_pass",
        ),
        endings=("passwd", "password", "pwd"),
        of_many=("passwords",),
    ),
    Key(
        "api key",
        ("key api", "key subscription"),
        ("X-Api-Key", "k3y-0f-the-sh0p"),
        "api=v2, key=name",
        names=("api_key", "apikey", "subscription_key", "x_api_key"),
        endings=("api_key", "apikey", "subscription_key"),
        of_many=("api_keys",),
    ),
    Key(
        "token",
        ("token", "assertion", "srf", "jwt", "saml"),
        ("refresh_token", "r3fr3sh"),
        "max_tokens=5",
        names=(
            "access_token",
            "assertion",
            "csrf",
            "id_token",
            "jwt",
            "refresh_token",
            "saml_response",
            "samlresponse",
            "token",
            "x_amz_security_token",
            "x_auth_token",
            "xsrf",
        ),
        endings=("token",),
    ),
    Key(
        "authorization",
        ("authorization",),
        ("Authorization", "Letmein-please"),
        "author=Austen",
        names=("authorization", "proxy_authorization"),
        in_urls=("auth",),
    ),
    Key(
        "authorization code",
        (),
        ("https://shop.example/callback?code", "4/0AX4XfWh"),
        "code=404",
        in_urls=("code",),
    ),
    Key(
        "cookie",
        ("cookie",),
        ("Set-Cookie", "basket=b4sk3t"),
        "cookies=3",
        names=("cookie", "set_cookie"),
        of_many=("cookies",),
    ),
    Key(
        "session",
        ("sess",),
        ("JSESSIONID", "8A5B6C"),
        "sessions=12",
        names=("jsessionid", "phpsessid", "session_id", "sessionid"),
        in_urls=("session",),
    ),
    Key(
        "access key",
        ("key access", "key account"),
        ("aws_secret_access_key", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        "access=full, account=7",
        names=("access_key", "account_key"),
        endings=("access_key",),
    ),
    Key(
        "private key",
        ("key private", "key signing", "key encryption"),
        ("jwt_private_key", "c2VjcmV0"),
        "private=true",
        names=("encryption_key", "private_key", "signing_key"),
        endings=("private_key",),
    ),
    Key(
        "credential",
        ("credential", "auth basic", "auth bearer", "auth http"),
        ("X-Goog-Credential", "shop@project.iam"),
        "credentials=none, auth=basic",
        # What Elasticsearch clients call them, too.
        names=("basic_auth", "bearer_auth", "credential", "http_auth", "x_amz_credential", "x_goog_credential"),
        endings=("credential",),
        of_many=("credentials",),
    ),
    Key(
        "secret",
        ("secret",),
        ("client_secret", "s3cr3t"),
        "secretary=Jan",
        names=("client_secret", "secret", "secret_key"),
        endings=("secret", "secret_key"),
        of_many=("secrets",),
    ),
    Key(
        "signature",
        ("signature",),
        ("X-Amz-Signature", "fe5f80f77d5fa3beca038a248ff027d0"),
        "sig=5",
        names=("signature", "x_amz_signature", "x_goog_signature"),
        endings=("signature",),
        in_urls=("sig",),
    ),
    Key(
        "card number",
        ("card number", "card credit"),
        ("card_number", "4111-0000"),
        "cards=52",
        names=("card_number", "cardnumber", "credit_card", "credit_card_number", "creditcard"),
        endings=("card_number",),
    ),
    Key("card code", ("cvv", "cvc"), ("cvc", "123"), "cvcs=2", names=("cvc", "cvv", "cvv2")),
    Key(
        "email address",
        ("mail",),
        ("email", "jane.doe"),
        "emails=3",
        names=("e_mail", "email", "email_address", "mail"),
        endings=("email", "email_address"),
        personal=True,
    ),
    Key(
        "phone number",
        ("phone", "mobile"),
        ("phone", "030-901820"),
        "phones=2",
        names=("mobile", "mobile_number", "phone", "phone_number", "telephone"),
        endings=("phone", "phone_number"),
        personal=True,
    ),
    Key(
        "ip address",
        ("ip client", "client", "peer", "forwarded", "ip real", "remote", "ip connecting"),
        ("client.address", "203.0.113.7"),
        "clients=3",
        names=(
            "cf_connecting_ip",
            "client_address",
            "client_ip",
            "forwarded",
            "http_client_ip",
            "net_peer_ip",
            "net_sock_peer_addr",
            "network_peer_address",
            "remote_addr",
            "true_client_ip",
            "x_forwarded_for",
            "x_real_ip",
        ),
        endings=("client_ip", "remote_addr"),
        personal=True,
    ),
    Key(
        "name",
        ("name first", "name last", "name full", "name user", "name sur"),
        ("first_name", "Jane"),
        "name=lamp",
        names=("first_name", "full_name", "last_name", "surname", "user_full_name", "user_name", "username"),
        endings=("first_name", "last_name", "full_name"),
        personal=True,
    ),
)

KEPT = ("session.id",)
"""Names, exactly so, that are no secrets: OpenTelemetry's for a session's pseudonym."""

# The values of an Authorization header. "Basic" and "digest" are words, too: after them only what looks encoded.
_CREDENTIALS = r"[A-Za-z0-9_+/=.~:-]"
_ENCODED = r"[a-z+/.~:_-]{0,24}[A-Z0-9=]" + _CREDENTIALS + "{7,}"
_PEM = r"[A-Za-z0-9+/=\s\\:,.]"

SHAPES = (
    Shape(
        "user and password in a URL",
        "user info",
        ("@",),
        r"""[^/?#\s"']{1,512}""",
        "shop:s3cr3t",
        "see http://shop.example/about, or write to shop@example.com",
        before="://",
        after="@",
    ),
    Shape(
        "bearer token",
        "token",
        ("bearer",),
        _CREDENTIALS + "{8,}",
        "mF_9.B5f-4.1JqM",
        "the bearer is known",
        before=r"(?i:\bbearer) +",
        any_case=True,
    ),
    Shape(
        "API key of Elasticsearch in a header",
        "api key",
        ("apikey",),
        _CREDENTIALS + "{8,}",
        "VnVhQ2ZHY0JDZGJrUW0=",
        "an ApiKey is wanted",
        before=r"(?i:\bapikey) +",
        any_case=True,
    ),
    Shape(
        "basic credentials",
        "password",
        ("basic",),
        _ENCODED,
        "dXNlcjpwYXNz",
        "basic authentication failed",
        before=r"(?i:\bbasic) +",
        any_case=True,
    ),
    Shape(
        "digest and negotiate credentials",
        "credential",
        ("digest", "negotiate"),
        _ENCODED,
        "YIIJvwYGKwYBBQUCoIIJszCC",
        "the digest differs, negotiate again",
        before=r"(?i:\b(?:digest|negotiate)) +",
        any_case=True,
    ),
    Shape(
        "JSON Web Token",
        "token",
        ("eyJ",),
        # From the beginning of a run of letters, so that the time is linear.
        r"(?<![A-Za-z0-9_-])(?=[A-Za-z0-9_-]*?eyJ)[A-Za-z0-9_-]{11,}+\.[A-Za-z0-9_-]{8,}+(?:\.[A-Za-z0-9_-]*+){1,3}+",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "eyJ is how JSON in base64 begins",
        re2=r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,3}",
    ),
    Shape(
        "access key id of AWS",
        "access key",
        ("AKIA", "ASIA"),
        r"A(?:KI|SI)A[A-Z0-9]{16}",
        "AKIAIOSFODNN7EXAMPLE",
        "made in ASIA, not in AKIAland",
    ),
    Shape(
        "API key of Google Cloud",
        "api key",
        ("AIza",),
        r"AIza[0-9A-Za-z_-]{35}",
        "AIzaSyDaGmWKa4JsXZ-HjGw7ISLn_3namBGewQe",
        "AIza is a name",
    ),
    Shape(
        # 20 characters, a colon, 22 characters: the colon is always at the same place.
        "API key of Elasticsearch",
        "api key",
        ("==",),
        r"[A-Za-z0-9+/]{26}[AEIMQUYcgkosw048]6[A-Za-z0-9+/]{30}==",
        "VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWkybHAyYXhUTm1zeWFrdzl0dk5udw==",
        "a == b, dGhlIHNlYXJjaCBmb3IgbGFtcHMgZm91bmQgdGhpcnR5IHNldmVuIGxhbXBz==",
    ),
    Shape(
        "API key of Elastic Cloud",
        "api key",
        ("essu_",),
        r"essu_[A-Za-z0-9+/_-]{20,}={0,2}",
        "essu_VWpOdlNHSlhPRUpDTTNWb1h6UnNZelpGV0RZNg==",
        "essu_ is a prefix",
    ),
    Shape(
        # Three bytes of version and "elastic" in base64.
        "token of an Elasticsearch service account",
        "token",
        ("AAEAAWVsYXN0aW",),
        r"AAEAAWVsYXN0aW[A-Za-z0-9+/_=-]{12,}",
        "AAEAAWVsYXN0aWMva2liYW5hL3Rva2VuMTpBQUFBQUFBQUFB",
        "AAEAAWVsYXN0aW is how it begins",
    ),
    Shape(
        "API key of OpenAI, Anthropic and their like",
        "api key",
        ("sk-",),
        # From the beginning of a word, and with a digit: `task-…` and `sk-learn-of-some-sort` are none.
        r"(?<![A-Za-z0-9_-])sk-(?=[A-Za-z_-]*+[0-9])[A-Za-z0-9_-]{24,}+",
        "sk-proj-4eC39HqLyjWDarjtT1zdp7dc_x",
        "desk-4eC39HqLyjWDarjtT1zdp7dc_x, sk-learn",
        re2=r"\bsk-[A-Za-z0-9_-]{24,}",
    ),
    Shape(
        "token of Hugging Face",
        "token",
        ("hf_",),
        r"hf_[A-Za-z0-9]{30,}",
        "hf_4eC39HqLyjWDarjtT1zdp7dcabcdefghij",
        "hf_hub_download",
    ),
    Shape(
        "token of GitHub",
        "token",
        ("gh",),
        r"gh[pousr]_[A-Za-z0-9]{36,255}",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "through ghp_short",
    ),
    Shape(
        "fine-grained token of GitHub",
        "token",
        ("github_pat_",),
        r"github_pat_[A-Za-z0-9_]{40,255}",
        "github_pat_11AAAAAAA0aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789",
        "github_pat_ is a prefix",
    ),
    Shape(
        "token of GitLab",
        "token",
        ("glpat-",),
        r"glpat-[A-Za-z0-9_.-]{20,}",
        "glpat-aBcDeFgHiJkLmNoPqRsT",
        "glpat-short",
    ),
    Shape(
        "token of Slack",
        "token",
        ("xox", "xapp-"),
        r"(?:xox[abceoprs]|xapp)-[A-Za-z0-9-]{10,}",
        "xoxb-123456789012-abcdefABCDEF",
        "xoxo",
    ),
    Shape(
        "webhook of Slack",
        "token",
        ("hooks.slack.com/",),
        r"[A-Za-z0-9/_-]{10,}",
        "T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
        "see hooks.slack.com/services/",
        before=r"hooks\.slack\.com/(?:services|workflows|triggers)/",
    ),
    Shape(
        "key of Stripe",
        "api key",
        ("k_live_", "k_test_", "whsec_"),
        r"(?:[rs]k_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{20,})",
        "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
        "task_test_1",
    ),
    Shape(
        "private key",
        "private key",
        ("PRIVATE KEY",),
        rf"-----BEGIN [A-Z0-9 ]{{0,40}}PRIVATE KEY(?: BLOCK)?-----{_PEM}*+(?:-{_PEM}++)*+"
        r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: DES-EDE3-CBC,4A\n\n"
        "MIIBOgIBAAJBAKj34GkxFhD90vcNLYLInFEX\n-----END RSA PRIVATE KEY-----",
        "no PRIVATE KEY here",
    ),
    Shape(
        "card number",
        "card number",
        (),
        r"[0-9](?:[ -]?[0-9]){12,}+",
        "4111 1111 1111 1111",
        "order 4111 1111 1111 1112 at 1732563600000, 1732563600000000000",
        check="card",
        # Without the check digit, which no regular expression can compute.
        re2=r"\b(?:(?:4[0-9]{3}|5[1-5][0-9]{2}|2[2-7][0-9]{2}|35[0-9]{2}|6(?:011|4[4-9][0-9]|5[0-9]{2}))"
        r"(?:[ -]?[0-9]{4}){3}(?:[ -]?[0-9]{3})?|3[47][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{5}"
        r"|3(?:0[0-5]|[68][0-9])[0-9][ -]?[0-9]{6}[ -]?[0-9]{4})\b",
    ),
    Shape(
        "e-mail address",
        "email address",
        ("@",),
        r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}",
        "jane.doe+shop@mail.example.com",
        "@app.get on shop@localhost",
        personal=True,
    ),
    Shape(
        "phone number with its country",
        "phone number",
        ("+",),
        r"\+[1-9](?:[ ./()-]{0,2}[0-9]){7,14}",
        "+49 (30) 901820-0",
        "12 +34, at 10:00+01:00",
        personal=True,
    ),
)
