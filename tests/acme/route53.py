"""Route 53 for tests: moto's API in front, BIND behind.

A WSGI wrapper around moto_server that adds what moto lacks for a DNS-01 test:
  * real SigV4 checking (recomputed with botocore), 403 on a bad signature;
  * CREATE refuses an existing record set, DELETE refuses unequal values;
  * a change stays PENDING for R53_PENDING seconds;
  * every accepted TXT change is pushed to BIND by a TSIG-signed nsupdate;
  * STS beside it: keys of a session count with their token only, R53_TOKEN is the one web identity
    that is believed, R53_EXTERNAL_ID has to be said, and with R53_ROLE only that role may change DNS.
It prints "asked at SECONDS" for each question to Route 53 and "granted ACTION ROLE" for each session.
Environment: PORT, BIND_PORT, TSIG_KEY_FILE, R53_ZONE (the hosted zone), R53_PENDING (0),
R53_FAIL (n: fail the next n changes with Throttling), AWS_KEY, AWS_SECRET, R53_ROLE, R53_TOKEN,
R53_EXTERNAL_ID.
"""
import io, os, re, subprocess, time
from urllib.parse import parse_qs
import xml.etree.ElementTree as ET
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.route53.models import route53_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

E = os.environ
KEY, SECRET = E.get('AWS_KEY', 'AKIATESTTESTTESTTEST'), E.get('AWS_SECRET', 'test-secret')
NS = '{https://route53.amazonaws.com/doc/2013-04-01/}'
inner = DomainDispatcherApplication(create_backend_app)
changed_at, fail = {}, [int(E.get('R53_FAIL', 0))]
sessions = {}  # access key id: (secret, session token, role)


def signed_ok(env, body):
    m = re.match(r'AWS4-HMAC-SHA256 Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request, ?SignedHeaders=([^,]+), ?Signature=(\w+)',
                 env.get('HTTP_AUTHORIZATION', ''))
    secret, token, _ = sessions.get(m[1], (SECRET if m[1] == KEY else None, None, None)) if m else (None,) * 3
    if secret is None or env.get('HTTP_X_AMZ_SECURITY_TOKEN') != token:
        return False
    heads = {h: env.get('HTTP_' + h.upper().replace('-', '_')) or env.get(h.upper().replace('-', '_'), '') for h in m[4].split(';')}
    query = '?' + env['QUERY_STRING'] if env.get('QUERY_STRING') else ''
    req = AWSRequest(env['REQUEST_METHOD'], f"http://{env['HTTP_HOST']}{env.get('RAW_URI', env['PATH_INFO']).split('?')[0]}{query}", heads, body)
    req.context['timestamp'] = env.get('HTTP_X_AMZ_DATE', '')
    auth = SigV4Auth(Credentials(m[1], secret), m[3], m[2])
    return auth.signature(auth.string_to_sign(req, auth.canonical_request(req)), req) == m[5]


def answer(start, status, code, msg):
    start(status, [('content-type', 'text/xml')])
    return [f'<?xml version="1.0"?><ErrorResponse xmlns="{NS[1:-1]}"><Error><Type>Sender</Type><Code>{code}</Code>'
            f'<Message>{msg}</Message></Error><RequestId>0</RequestId></ErrorResponse>'.encode()]


def grant(env, start, form):
    seen = {}
    out = b''.join(inner(env, lambda s, h, e=None: seen.update(s=s, h=h)))
    if seen['s'].startswith('2'):
        text = {k: re.search(f'<{k}>([^<]+)<', out.decode())[1] for k in ('AccessKeyId', 'SecretAccessKey', 'SessionToken')}
        sessions[text['AccessKeyId']] = (text['SecretAccessKey'], text['SessionToken'], form['RoleArn'])
        print('granted', form['Action'], form['RoleArn'], flush=True)
    start(seen['s'], seen['h'])
    return [out]


def may_change(env):
    key = re.search(r'Credential=([^/]+)/', env['HTTP_AUTHORIZATION'])[1]
    return not E.get('R53_ROLE') or sessions.get(key, (None,) * 3)[2] == E['R53_ROLE']


def sets(zone_id):  # {(name, type): [values]}
    zone = route53_backends['123456789012']['aws'].zones[zone_id]
    return {(r.name.rstrip('.').lower(), r.type): list(r.records) for r in zone.rrsets}, zone.name


def push(zone_id, names):
    now, zone = sets(zone_id)
    lines = [f"server 127.0.0.1 {E.get('BIND_PORT', '5353')}", f'zone {zone}']
    for n in sorted(names):
        lines.append(f'update delete {n}. TXT')
        lines += [f'update add {n}. 5 TXT {v}' for v in now.get((n, 'TXT'), [])]
    subprocess.run(['nsupdate', '-k', E['TSIG_KEY_FILE']], input='\n'.join(lines + ['send', '']), text=True, check=True)


def app(env, start):
    body = env['wsgi.input'].read(int(env.get('CONTENT_LENGTH') or 0))
    env['wsgi.input'] = io.BytesIO(body)
    path = env['PATH_INFO'].rstrip('/')
    if path.startswith('/moto-api'):
        return inner(env, start)
    form = {k: v[0] for k, v in parse_qs(body.decode('latin-1')).items()} if path == '' else {}
    if form.get('Action') == 'AssumeRoleWithWebIdentity':
        if form.get('WebIdentityToken') != E.get('R53_TOKEN'):
            return answer(start, '400 Bad Request', 'InvalidIdentityToken', 'Incorrect token')
        return grant(env, start, form)
    if not signed_ok(env, body):
        return answer(start, '403 Forbidden', 'SignatureDoesNotMatch', 'The request signature we calculated does not match.')
    if form.get('Action') == 'AssumeRole':
        if form.get('ExternalId') != E.get('R53_EXTERNAL_ID'):
            return answer(start, '403 Forbidden', 'AccessDenied', 'not authorized to perform: sts:AssumeRole')
        return grant(env, start, form)
    print('asked at', time.monotonic(), flush=True)
    if not may_change(env):
        return answer(start, '403 Forbidden', 'AccessDenied', 'not authorized to perform: route53')
    hit = re.fullmatch(r'/2013-04-01/hostedzone/([^/]+)/rrset', path)
    names = set()
    if hit and env['REQUEST_METHOD'] == 'POST':
        if fail[0] > 0:
            fail[0] -= 1
            return answer(start, '400 Bad Request', 'Throttling', 'Rate exceeded')
        have, _ = sets(hit[1])
        for c in ET.fromstring(body).iter(NS + 'Change'):
            r = c.find(NS + 'ResourceRecordSet')
            key = (r.findtext(NS + 'Name').rstrip('.').lower(), r.findtext(NS + 'Type'))
            want, action = [v.text for v in r.iter(NS + 'Value')], c.findtext(NS + 'Action')
            if action == 'CREATE' and key in have:
                return answer(start, '400 Bad Request', 'InvalidChangeBatch', f'[Tried to create resource record set {key} but it already exists]')
            if action == 'DELETE' and sorted(have.get(key, [])) != sorted(want):
                return answer(start, '400 Bad Request', 'InvalidChangeBatch', f'[Tried to delete resource record set {key} but the values provided do not match the current values]')
            names |= {key[0]} if key[1] == 'TXT' else set()
    seen = {}
    out = b''.join(inner(env, lambda s, h, e=None: seen.update(s=s, h=h)))
    ok, wait = seen['s'].startswith('2'), float(E.get('R53_PENDING', 0))
    change = re.search(r'/change/(\w+)', path + out.decode()) if ok else None
    if change and names:
        changed_at[change[1]] = time.time()
        push(hit[1], names)
    if change and time.time() - changed_at.get(change[1], 0) < wait:
        out = out.replace(b'>INSYNC<', b'>PENDING<')
    start(seen['s'], [(k, v) for k, v in seen['h'] if k.lower() != 'content-length'] + [('content-length', str(len(out)))])
    return [out]


if __name__ == '__main__':
    route53_backends['123456789012']['aws'].create_hosted_zone(E['R53_ZONE'] + '.', False)
    run_simple('127.0.0.1', int(E.get('PORT', 5000)), app, threaded=False)
