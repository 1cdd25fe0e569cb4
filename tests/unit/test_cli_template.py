"""--format: every expectation is what docker's own client prints for the same template (it knows `.ID` and `.Id` in two passes, and
the fields that the JSON here leaves out)."""

from typing import Any

import pytest

from wherry.cli.inspected import typed
from wherry.cli.template import Template, TemplateError

DATA: dict[str, Any] = {
    "Id": "abcdef",
    "Name": "/c1",
    "Args": ["a", "b"],
    "State": {"Status": "running", "Running": True, "Pid": 42, "ExitCode": 0},
    "Config": {"Labels": {"a": "1", "b.c": "x"}, "Entrypoint": None, "Image": "busybox", "Cmd": ["sh"], "Env": ["A=1"]},
    "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "9/udp": None}},
    "HostConfig": {"NanoCpus": 0, "Binds": None},
}

GOOD = [
    ("{{.Id}} {{.ID}}", "abcdef abcdef"),
    ("{{.Config.Labels.foo}}|{{index .Config.Labels `foo`}}|{{.Config.Labels.a}}", "<no value>||1"),
    ("{{.Config.Entrypoint}} {{.State.Health}} {{.HostConfig.Init}} {{json .Config.Entrypoint}}", "[] <nil> <nil> null"),
    ("{{.Args}} {{.Config.Labels}} {{.State.Running}} {{.State}}", "[a b] map[a:1 b.c:x] true {running true 42 0}"),
    ("{{range $k, $v := .NetworkSettings.Ports}}{{$k}}={{$v}};{{else}}none{{end}}", "80/tcp=[{0.0.0.0 8080}];9/udp=[];"),
    ("{{range $i, $e := .Args}}{{if $i}},{{end}}{{$i}}{{$e}}{{end}}", "0a,1b"),
    ("{{range .HostConfig.Binds}}x{{else}}none{{end}}", "none"),
    ('{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}', "8080"),
    ("{{if eq .State.Status `exited` `running`}}y{{else if .Name}}z{{else}}n{{end}}", "y"),
    ("{{if and .State.Running (not .State.ExitCode)}}up{{end}}{{or .HostConfig.Binds `none`}}", "upnone"),
    ("{{with .Config}}{{.Image}} {{$.Name}}{{end}}{{with .HostConfig.Binds}}x{{else}}-{{end}}", "busybox /c1-"),
    ("{{$x := 1}}{{range .Args}}{{$x = .}}{{end}}{{$x}}", "b"),
    ("{{range .Args}}{{if eq . `b`}}{{break}}{{end}}{{.}}{{end}}{{range .Args}}{{continue}}{{end}}", "a"),
    ("a  {{- .Id -}}  b{{/* no */}}c{{- /* no */ -}} d", "aabcdefbcd"),
    ("{{.State.Status | upper | printf `%-9s|%q` | len}}", "22"),
    ('{{printf "%5d|%-5s|%q|%v|%t|%05d|%x|%.2f|%%" 3 "a" "b\\n" .Args true 42 255 1.5}}', '    3|a    |"b\\n"|[a b]|true|00042|ff|1.50|%'),
    ('{{printf "%d" "x"}} {{printf "%s" 1}} {{printf "%s"}} {{printf "x" 1}}', "%!d(string=x) %!s(int=1) %!s(MISSING) x%!(EXTRA int=1)"),
    ("{{print 1 2 `a` `b` 3}}{{println 1 `x`}}", "1 2ab31 x\n"),
    ("{{title `hello world`}} {{lower `AB`}} {{pad `x` 1 2}}| {{truncate `abcdef` 3}} {{truncate `ab` 3}}", "Hello World ab  x  | abc ab"),
    ("{{split `a,b` `,`}} {{join .Args `-`}} {{join (split `a b` ` `) `+`}}", "[a b] a-b a+b"),
    ("{{json .State}} {{json .Args}} {{json .Name}}", '{"Status":"running","Running":true,"Pid":42,"ExitCode":0} ["a","b"] "/c1"'),
    ("{{lt 1 2}} {{le 2 2}} {{gt 1 2}} {{ge `b` `a`}} {{ne 1 2}} {{len .Args}} {{slice `abc` 1 2}}", "true true false true true 2 b"),
    ("{{1.5}} {{true}} {{0x10}} {{'a'}} {{`raw`}} {{\"q\\t\"}}", "1.5 true 16 97 raw q\t"),
]


@pytest.mark.parametrize(("template", "expected"), GOOD)
def test_good(template: str, expected: str) -> None:
    assert Template(template, strict=True).render(typed(DATA)) == expected


BAD = [
    ("{{.Foo}}", 'template: :1:2: executing "" at <.Foo>: map has no entry for key "Foo"'),
    ("{{.HostConfig.Foo}}", 'template: :1:13: executing "" at <.HostConfig.Foo>: map has no entry for key "Foo"'),
    ("\n{{.Foo}}", 'template: :2:2: executing "" at <.Foo>: map has no entry for key "Foo"'),
    ("{{.ID", "template: :1: unclosed action"),
    ("{{foo", 'template: :1: function "foo" not defined'),
    ("{{if .ID}}", "template: :1: unexpected EOF"),
    ("{{end}}", "template: :1: unexpected {{end}}"),
    ("{{$x}}", 'template: :1: undefined variable "$x"'),
    ("{{}}", "template: :1: missing value for command"),
    ("{{if}}x{{end}}", "template: :1: missing value for if"),
    ("{{(.Id}}", "template: :1: unclosed left paren"),
    ('{{"abc}}', "template: :1: unterminated quoted string"),
    ("{{index .Args 5}}", 'template: :1:2: executing "" at <index .Args 5>: error calling index: index out of range: 5'),
    ('{{index (index .NetworkSettings.Ports "81/tcp") 0}}',
     'template: :1:2: executing "" at <index (index .NetworkSettings.Ports "81/tcp") 0>: error calling index: index of untyped nil'),
    ("{{eq 1 `a`}}", 'template: :1:2: executing "" at <eq 1 `a`>: error calling eq: incompatible types for comparison'),
]  # fmt: skip


@pytest.mark.parametrize(("template", "message"), BAD)
def test_bad(template: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(template, strict=True).render(typed(DATA))
    assert str(caught.value) == message
