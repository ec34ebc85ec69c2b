import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmkeep.accounts.guess_effort import guess_effort
from realmkeep.accounts.password_rules import PASSWORD_BYTES_MAX, PasswordRules, common_passwords
from realmkeep.accounts.usernames import fold_username
from realmkeep.errors import AuthFailed

RULES = PasswordRules(realm_name="Realm of Ash")


@pytest.mark.parametrize(
    "password",
    [
        "four words of mine",
        "x7 Q9k2!vb Lm0pz",
        "abcdefghijklmnopqrstuvwxyz"[::3] * 2 + "!x",
        "пароль из четырёх слов",
        "🐉🐲🦎🐊🐢🐍🦖🦕🐸🐳🐋🐬🐟🐠🐡",
        "                ada and the moon",
        "ß" * 3 + "long enough by far",
        "correct horse battery staple",
        "correct-horse-battery",
        "password of the grey heron",
        "x" * 40 + "any seven of them",
        "four words of mine" + "\u00e9" * 503,
    ],
)
def test_any_long_password_is_welcome_whatever_it_is_made_of(password: str) -> None:
    RULES.check_password(password, username="player1")


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("a few", "too short"),
        ("14 characters.", "too short"),
        ("e\u0301" * 14, "too short"),  # 14 characters, although 28 code points were typed
        ("x" * 1020 + "y" * 5, "longer than 1024 bytes"),
        ("\u00e9" * 512 + "x", "longer than 1024 bytes"),
        ("manchesterunited", "attackers try"),
        ("ManchesterUnited", "attackers try"),
        ("\uff2danchester\uff35nited", "attackers try"),
        ("aaaaaaaaaaaaaaaa", "repeats"),
        ("abcabcabcabcabcabc", "repeats"),
        ("abcdefghijklmnop", "repeats or counts"),
        ("ponmlkjihgfedcba", "repeats or counts"),
        ("passwordpassword", "repeats"),
        ("MyUserName123456", "little more than"),
        ("realm of ash 1234", "little more than"),
        ("password1234567", "try first"),
        ("Password1234567", "try first"),
        ("1234567password", "try first"),
        ("p@ssw0rd1234567", "try first"),
        ("P4$$W0RD!!!!!!!!", "try first"),
        ("aaaaaaaaaaaaaab", "different"),
        ("baaaaaaaaaaaaaa", "different"),
        ("x" * 3 + "y" * 61, "different"),
        ("aaaabbbbccccdddd", "different"),
        ("aaaabbbbccccddddeeee", "try first"),
        ("abcabcabcabcabcx1", "try first"),
        ("qwertyuiopasdfgh", "try first"),
        ("qwertzuiopasdfgh", "try first"),
        ("asdfghjklzxcvbnm", "try first"),
        ("zxcvbnm,./asdfgh", "try first"),
        ("1qaz2wsx3edc4rfv5t", "try first"),
        ("qwertyuiop1234567890", "try first"),
        ("123456789012345", "try first"),
        ("abcdefg1234567890", "try first"),
        ("manchesterunited1", "try first"),
        ("myusernamepassword1", "try first"),
        ("Realm of Ash and myusername", "little more than"),
        ("RealmofAshpassword12", "try first"),
        ("valid but for \ud800 one", "not valid text"),
    ],
)
def test_a_weak_password_is_refused_with_its_reason(password: str, why: str) -> None:
    with pytest.raises(AuthFailed) as caught:
        RULES.check_password(password, username="myusername")
    assert caught.value.reason == "weak_password"
    assert why in str(caught.value)
    assert password not in str(caught.value)


def test_the_length_is_the_realms_to_choose() -> None:
    PasswordRules(length_min=8).check_password("x7!kQ9 z", username="ada")
    with pytest.raises(AuthFailed, match="use 9"):
        PasswordRules(length_min=9).check_password("x7!kQ9 z", username="ada")


def test_the_blocklist_is_long_and_every_entry_of_it_is_refused() -> None:
    rules = PasswordRules(length_min=8)
    assert len(common_passwords()) > 15_000
    for password in common_passwords():
        assert password == fold_username(password)
        with pytest.raises(AuthFailed, match="attackers"):
            rules.check_password(password, username="nobody")


@given(st.text(), st.text(max_size=40))
def test_what_is_accepted_is_long_enough_and_not_too_long_and_nothing_crashes(password: str, username: str) -> None:
    try:
        RULES.check_password(password, username=username)
    except AuthFailed:  # that a refusal has its reason is tested above
        return
    assert len(unicodedata.normalize("NFC", password)) >= 15
    assert len(password.encode()) <= PASSWORD_BYTES_MAX


@given(st.text(alphabet="aab1!p@sw0rdq", max_size=64))
def test_a_password_is_worth_no_more_than_its_length_and_no_less_with_more_behind_it(password: str) -> None:
    price = guess_effort(password, common={"password"}, names={"ada"}, enough=8)
    assert 0 <= price <= len(password)
    assert (price >= 8) <= (guess_effort(password + "x", common={"password"}, names={"ada"}, enough=8) >= 8)


@pytest.mark.parametrize(
    ("folded", "price"),
    [
        ("", 0),
        ("x7", 2),
        ("password", 3),
        ("p@ssw0rd", 3),
        ("aaaa", 1),
        ("abcd4321", 2),
        ("qwer", 1),
        ("xyxyxyxy", 2),
        ("ada!", 2),
    ],
)
def test_what_attackers_combine_counts_for_little(folded: str, price: int) -> None:
    assert guess_effort(folded, common={"password"}, names={"ada"}, enough=8) == price
