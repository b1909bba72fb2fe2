"""Passwords that everybody thinks of first, told by what they are made of.

Attackers try words that are popular as passwords, with capitals, digits and signs put on and
letters written as digits. So the list holds the words, and a password is looked for by what is left
of it without such changes. It also knows rows of keys, and a few characters again and again.
"""

from __future__ import annotations

import re

# As they are left when decoration is taken off: lower case, letters for digits.
_WORDS = frozenset(
    """
    abc abcd abcde abcdef abcdefg abcdefgh about access account action active admin administrador
    administrateur administrator adminadmin airplane alexander alexandra alexis amanda america
    american amsterdam andrea andrew angel angela angels anthony apple arsenal asdasd asdf asdfasdf
    asdfgh ashley asshole august austin autumn awesome
    babygirl backup bailey banana barcelona baseball basketball batman beach beautiful beer
    benjamin berlin bigdaddy biteme blabla blahblah blink bonjour boomer boston brandon bubbles
    buddy business butterfly butthead
    calvin camaro canada captain carlos casper changeit changeme changemenow charles charlie
    cheese chelsea chester chicago chicken chocolate chris christian christopher coffee compaq
    company computer confidential cookie cookies corvette cowboy cowboys creative crystal
    dallas daniel database dave david debug december default delta demo deutschland diamond
    dolphin dolphins donald dragon dragonball dragons drowssap duke
    eagles edward einstein elephant elizabeth elliott eminem england enter estrella eternity
    everton example
    facebook falcon family february ferrari flower flowers foobar football forever formula france
    freedom friday friend friends fuck fucker fuckme fuckoff fuckyou
    games gandalf garfield george german germany gfhjkm ginger girls gizmo godzilla golden golf
    golfer google guest guitar gunner
    hacker hallo hannah happy harley heather hello helloworld hercules hockey holiday hola home
    hotmail house hunter
    iceman icecream iloveu iloveyou ihateyou infinity instagram install internet ironman isabella
    jackson jaguar jakarta january jasmine jasper jennifer jeremy jessica jesus jesuschrist john
    johnny jonathan jordan joseph joshua juventus june july justin
    karina katherine kevin killer kimberly kingdom knight kristina kubernetes
    lakeflight lakehouse lakers lalala laura lauren legend lemon leonardo letmein letmeinnow
    letmeplease liberty lifehack lincoln linkedin linux liverpool login london loulou lovely
    loveme lover loveyou lucky
    madison madrid maggie magic manager manchester march marina marine marines mario martin
    marvin master matrix matthew maverick maximus melissa merlin metallica mexico michael
    michelle mickey midnight miguel minecraft miracle mobile monday money monika monkey monster
    monsters morgan mother motorola mountain mozart muffin mustang mypass mypassword myspace
    naruto natalia natasha nathan network newpass newpassword newyork nicholas nicole nintendo
    nirvana nothing november
    october office oliver operator oracle orange
    packers panther parola parol pass passe passpass passphrase passport password passwort
    passwd passw patrick peanut pepper peter phoenix picasso please pokemon police porsche
    porter postgres precious prince princess private product professor public purple pussy
    q1w2e3r4 qazwsx qazwsxedc qwe qweasd qweasdzxc qweqwe qwer qwerqwer qwert qwerty qwertyui
    qwertyuiop qwertz qwertzuiop
    rabbit rachel raiders rainbow ranger rangers rebecca redsox remember richard robert rockstar
    rockyou ronaldo root rootroot rosebud runner
    samantha samsung samson sample sandra saturday scooter scorpion secret secure security
    september server service sexy shadow shannon shelby sidney silver simple skywalker slipknot
    smokey snoopy snowball soccer something sophie southpark spider spiderman spring star
    starwars startrek stella steelers steven strawberry success summer sunday sunflower sunshine
    super superadmin superman supersecret superuser support sweet sweetheart sweety sys sysadmin
    system
    tamara taylor teacher techno temp temporary tennis test tester testing testpass testpassword
    testtest testuser thomas thursday thunder tiffany tiger tigger tinkerbell titanic toor toyota
    transformer travis trinity trouble trustme trustno truelove tuesday tweety twitter
    unicorn united universe unknown user username
    valentina vanessa veronica victor victoria victory vincent virginia
    warcraft warrior webmaster wednesday welcome welcometo whatever william willow winner winston
    winter wizard wolverine work world
    xbox xxxxxx yamaha yankees yellow youtube yourpassword
    zaq zaqwsx zidane zxcv zxcvbn zxcvbnm
    contrasena motdepasse kennwort geheim geheimnis hasło haslo salasana wachtwoord lozinka heslo
    senha senhasenha mudar mudarme bienvenue bienvenido willkommen benvenuto azerty azertyuiop
    tequiero teamo iubire jetaime ichliebedich doudou soleil chouchou
    """.split()  # noqa: SIM905 - a list of so many words reads better as text
)
# Written in place of letters.
_LETTERS = str.maketrans("013457@$!|", "oieastasil")
_DECORATION = "0123456789 !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_SEPARATORS = re.compile(r"[\s._-]+")
_ROWS = (
    "01234567890123456789",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiop[]asdfghjkl;'zxcvbnm,./",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "1q2w3e4r5t6y7u8i9o0p",
    "q1w2e3r4t5y6u7i8o9p0",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/",
    "qazwsxedcrfvtgbyhnujmikolp",
    "zaqxswcdevfrbgtnhymjukilop",
    "zaq1xsw2cde3vfr4bgt5nhy6mju7,ki8.lo9/;p0",
    "!@#$%^&*()_+",
)
_RUNS = (*_ROWS, *(row[::-1] for row in _ROWS))
# So many different characters are no more than a pattern that is repeated.
_DIFFERENT_MIN = 4
# What a password must hold beside rows of keys.
_BESIDE_ROWS_MIN = 4
_LEFT_MIN = 3
# Numbers as short as a date or a telephone number.
_DIGITS_MAX = 10


def is_common(password: str) -> bool:
    """Whether a password is one of those that are tried first."""
    text = password.casefold()
    return (
        len(set(text)) < _DIFFERENT_MIN
        or (text.isdecimal() and len(text) <= _DIGITS_MAX)
        or len(_without_rows(text)) < _BESIDE_ROWS_MIN
        or any(each in _WORDS or _is_repeated(each) for each in stripped(text))
    )


def stripped(text: str) -> set[str]:
    """Return what is left of a text in lower case without decoration, in each way to read it."""
    bare = text.strip(_DECORATION)
    found = {bare, bare.translate(_LETTERS), text.translate(_LETTERS).strip(_DECORATION)}
    found |= {_SEPARATORS.sub("", each) for each in found}
    return {each for each in found if len(each) >= _LEFT_MIN}


def _is_repeated(text: str) -> bool:
    """Whether a text is one popular word, or a few characters, several times."""
    size = (text + text).find(text, 1)
    return size < len(text) and (size < _DIFFERENT_MIN or text[:size] in _WORDS)


def _without_rows(text: str) -> str:
    """Return a text without the rows of keys in it, forwards or backwards, of 4 keys or more."""
    left: list[str] = []
    position = 0
    while position < len(text):
        longest = 0
        for size in range(4, 13):
            part = text[position : position + size]
            if len(part) < size or not any(part in row for row in _RUNS):
                break
            longest = size
        if not longest:
            left.append(text[position])
        position += longest or 1
    return "".join(left)
