#!/bin/sh
# Goes to /usr/local/bin/{{ job.name }}, with the right to be executed: install -m 755. {{ job.name }}.crontab calls it.
# Slices of bounded time follow each other until all is done.
set -u
umask 027
cd -- {{ job.folder|shell }} || exit 1
{% for name, value in job.environment|dictsort %}
export {{ name }}={{ value|shell }}
{% endfor %}

while :; do
    {{ job.command|shell }}
    code=$?
    [ "$code" -eq 75 ] || break  # 75: the time budget is used up, and the next slice goes on
done

case "$code" in
    3) code=0 ;;  # done, though more images failed than the settings allow: it is told above
    5) code=0 ;;  # another run holds the work folder, such as the one of last night
esac
exit "$code"
