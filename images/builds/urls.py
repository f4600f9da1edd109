from django.urls import path

from images.builds import credential_views, definition_views, upload_views, views

app_name = "builds"

urlpatterns = [
    path("", views.build_list, name="list"),
    path("new/", views.new, name="new"),
    path("lint/", views.check, name="lint"),
    path("<int:pk>/", views.detail, name="detail"),
    path("<int:pk>/rebuild/", views.rebuild, name="rebuild"),
    path("<int:pk>/push/", views.push, name="push"),
    path("<int:pk>/compare/", views.compare, name="compare"),
    path("uploads/", upload_views.begin, name="uploads"),
    path("uploads/<slug:ident>/", upload_views.upload, name="upload"),
    path("uploads/<slug:ident>/finish/", upload_views.finish, name="finish_upload"),
    path("definitions/", definition_views.definition_list, name="definitions"),
    path("definitions/new/", definition_views.edit, name="new_definition"),
    path("definitions/<slug:slug>/", definition_views.definition, name="definition"),
    path("definitions/<slug:slug>/edit/", definition_views.edit, name="edit_definition"),
    path("definitions/<slug:slug>/build/", definition_views.build_now, name="build_now"),
    path("definitions/<slug:slug>/delete/", definition_views.delete, name="delete_definition"),
    path("definitions/<slug:slug>/webhook/", definition_views.hook_secret, name="hook_secret"),
    path("hooks/<slug:slug>/", definition_views.hook, name="hook"),
    path("credentials/", credential_views.credential_list, name="credentials"),
    path("credentials/new/", credential_views.edit, name="new_credential"),
    path("credentials/<slug:name>/", credential_views.edit, name="credential"),
    path("credentials/<slug:name>/delete/", credential_views.delete, name="delete_credential"),
]
