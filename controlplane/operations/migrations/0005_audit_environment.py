import django.db.models.deletion
from django.db import migrations, models

from controlplane.operations import guards


def guard(apps, schema_editor):
    guards.install(schema_editor.connection)


class Migration(migrations.Migration):
    """Entries that are there keep version 1 of the hashed form and know no row: they fit as they did."""

    dependencies = [
        ('hosts', '0002_environments'),
        ('operations', '0004_tokens'),
    ]

    operations = [
        # Last on the way back, where SQLite makes the table anew.
        migrations.RunPython(migrations.RunPython.noop, guard),
        migrations.AddField(
            model_name='auditentry',
            name='environment_row',
            field=models.ForeignKey(blank=True, db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='hosts.environment'),
        ),
        migrations.AddIndex(
            model_name='auditentry',
            index=models.Index(fields=['environment_row', 'seq'], name='audit_environment_row'),
        ),
        migrations.RunPython(guard, migrations.RunPython.noop),
    ]
